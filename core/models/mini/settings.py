"""The memory settings that are compared on the embedded model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8

from core.memory.layout import MemoryMode, WindowLayout
from core.memory.plan import MemoryPlan
from core.memory.planner import plan_memory
from core.memory.positions import PositionMode
from core.memory.prune_policy import PruneRule, Pruning
from core.memory.row_bytes import Precision
from core.memory.strategies import strategy
from core.memory.tiers import Room
from core.memory.viewpoints import Viewpoints
from core.memory.world_memory import WorldMemory
from core.models.mini.config import CHUNK_FRAMES
from core.models.mini.model import MiniModel
from core.models.mini.world import World
from core.noise import seeded_noise
from core.rollout import rollout
from trajectories import Trajectory


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One way to remember. Sink 1 chunk and the last 2 chunks everywhere but in full and sliding.

    Attributes:
        name: For tables.
        mode: Memory mode.
        strategy: Retrieval strategy of mode worldkv.
        chunks: Whole or pruned chunks retrieved (pose, coverage).
        tokens: Tokens retrieved (rays).
        prune: Pruning rule.
        keep_ratio: Share of non-anchor tokens kept.
        pooled: One keep budget a chunk.
        order: Which token wins a tie (rays).
        positions: Time positions of retrieved keys.
        bank: How the bank keeps keys and values.
    """

    name: str
    mode: Literal["full", "sliding", "sink", "worldkv"] = "worldkv"
    strategy: Literal["pose", "coverage", "rays"] = "rays"
    chunks: int = 3
    tokens: int = 0
    prune: PruneRule = "none"
    keep_ratio: float = 1.0
    pooled: bool = False
    order: Literal["older", "newer"] = "older"
    positions: Literal["absolute", "contiguous", "slot"] = "absolute"
    bank: Precision = "native"

    @property
    def pruning(self) -> Pruning:
        """Pruning as the plan wants it."""
        return Pruning(rule=self.prune, keep_ratio=self.keep_ratio, pooled=self.pooled)

    def window_tokens(self, tokens_per_frame: int) -> int:
        """Retrieved tokens that the window has room for."""
        if self.mode != "worldkv":
            return 0
        return self.tokens or self.chunks * self.pruning.kept_per_chunk(tokens_per_frame, CHUNK_FRAMES)

    def plan(self, model: MiniModel, viewpoints: Viewpoints) -> MemoryPlan:
        """What the memory does along these viewpoints."""
        mode = MemoryMode(self.mode)
        tokens = viewpoints.tokens_per_frame
        chosen = None
        if mode is MemoryMode.WORLDKV:
            extra = {"order": self.order} if self.strategy == "rays" else {"num_chunks": self.chunks}
            chosen = strategy(self.strategy)(**extra)
        layout = WindowLayout(
            mode=mode,
            num_frames=viewpoints.num_frames,
            tokens_per_frame=tokens,
            sink_frames=CHUNK_FRAMES if mode in (MemoryMode.SINK, MemoryMode.WORLDKV) else 0,
            recent_frames=2 * CHUNK_FRAMES,
            retrieve_tokens=self.window_tokens(tokens),
        )
        plan = plan_memory(
            viewpoints,
            footprint=model.footprint,
            layout=layout,
            strategy=chosen,
            pruning=self.pruning,
            reinsert_all=PositionMode(self.positions).moves,
        )
        return plan.within(Room(), self.bank)


def generate_worlds(
    model: MiniModel,
    trajectory: Trajectory,
    worlds: Sequence[World],
    setting: Setting,
    *,
    given_chunks: int = 0,
    first_seed: int = 0,
) -> tuple[UInt8[np.ndarray, "worlds frames height width 3"], MemoryPlan]:
    """The same script in several worlds, side by side.

    Args:
        model: The embedded model.
        trajectory: The script.
        worlds: Where it is played.
        setting: How is remembered.
        given_chunks: Chunks at the start that are true pictures.
        first_seed: Of the first world's noise; each world has its own.
    """
    controls = model.controls(trajectory, torch.cat([world.pictures(0, 1) for world in worlds]))
    plan = setting.plan(model, controls.viewpoints)
    memory = WorldMemory(
        plan,
        positions=PositionMode(setting.positions),
        trained_frames=model.trained_frames,
        batch=len(worlds),
        device=model.device,
        dtype=model.dtype,
    )

    def given(chunk: int) -> torch.Tensor | None:
        if chunk >= given_chunks:
            return None
        span = (chunk * CHUNK_FRAMES, (chunk + 1) * CHUNK_FRAMES)
        return torch.stack([model.encode(world.pictures(*span)).transpose(0, 1) for world in worlds])

    channels, h, w = model.latent_shape
    sources = [
        seeded_noise(first_seed + i, (1, channels, CHUNK_FRAMES, h, w), model.device)
        for i in range(len(worlds))
    ]

    def noise(chunk: int, index: int) -> torch.Tensor:
        return torch.cat([draw(chunk, index) for draw in sources])

    decoder = model.decoder()
    results = rollout(controls, plan, memory, levels=model.levels, noise=noise, given=given)
    return np.concatenate([decoder.push(r.latents) for r in results], axis=1), plan
