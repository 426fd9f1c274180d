"""Plays one script in several worlds side by side."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from core.bench.setting import Setting
from core.memory.plan import MemoryPlan
from core.memory.positions import PositionMode
from core.memory.world_memory import WorldMemory
from core.models.mini.config import CHUNK_FRAMES
from core.models.mini.model import MiniModel
from core.models.mini.world import World
from core.noise import seeded_noise
from core.rollout import rollout
from trajectories import Trajectory


@dataclass(frozen=True, eq=False)
class Played:
    """What came of it.

    Attributes:
        videos: One a world.
        plan: What the memory did.
        cpu_s: Processor time of the rollout, all worlds together, decoding and planning left out.
    """

    videos: UInt8[np.ndarray, "worlds frames height width 3"]
    plan: MemoryPlan
    cpu_s: float


def play(
    model: MiniModel,
    trajectory: Trajectory,
    worlds: Sequence[World],
    setting: Setting,
    *,
    given: Sequence[Float[Tensor, "channels frames h w"]] = (),
    first_seed: int = 0,
) -> Played:
    """The same script in several worlds, side by side.

    Args:
        model: The embedded model.
        trajectory: The script.
        worlds: Where it is played.
        setting: How is remembered.
        given: Latents of whole chunks at the start that are not generated, one tensor a world; none if empty.
        first_seed: Of the first world's noise; each world has its own.
    """
    controls = model.controls(trajectory, torch.cat([world.pictures(0, 1) for world in worlds]))
    plan = setting.plan(model.footprint, controls.viewpoints)
    memory = WorldMemory(
        plan,
        positions=PositionMode(setting.positions),
        trained_frames=model.trained_frames,
        batch=len(worlds),
        device=model.device,
        dtype=model.dtype,
    )

    known = torch.stack(list(given)) if given else None

    def given_latents(chunk: int) -> Tensor | None:
        span = slice(chunk * CHUNK_FRAMES, (chunk + 1) * CHUNK_FRAMES)
        return None if known is None or span.stop > known.shape[2] else known[:, :, span]

    channels, h, w = model.latent_shape
    sources = [
        seeded_noise(first_seed + i, (1, channels, CHUNK_FRAMES, h, w), model.device)
        for i in range(len(worlds))
    ]

    def noise(chunk: int, index: int) -> torch.Tensor:
        return torch.cat([draw(chunk, index) for draw in sources])

    decoder = model.decoder()
    results = rollout(
        controls, plan, memory, levels=model.levels, noise=noise, given=given_latents, commit=setting.commit
    )
    began = time.process_time()
    latents = [result.latents for result in results]
    cpu_s = time.process_time() - began
    return Played(np.concatenate([decoder.push(each) for each in latents], axis=1), plan, cpu_s)


def true_latents(model: MiniModel, world: World, num_chunks: int) -> Float[Tensor, "channels frames h w"]:
    """Latents of the true pictures of a world's first chunks."""
    return model.encode(world.pictures(0, num_chunks * CHUNK_FRAMES)).transpose(0, 1)
