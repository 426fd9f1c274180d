"""LingBot sessions on small checkpoints, and their rollouts through the engine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import core.generate
from core.config import resolve
from core.generate import Job, prepare
from core.memory.plan import MemoryPlan
from core.memory.world_memory import WorldMemory
from core.models.session import LoadedModel, Session
from core.noise import NoiseSource, seeded_noise
from core.placement import Turns
from core.rollout import rollout
from core.script import load_script
from trajectories import Trajectory

CPU = torch.device("cpu")
SIZE = (64, 64)

THERE_AND_BACK = """\
version: 1
name: there-and-back
camera: {fov_deg: 80}
steps:
  - turn: {yaw_deg: 70, frames: 20}
  - move: {forward_units: 0.7, frames: 13}
  - move: {forward_units: -0.5, yaw_deg: -30, frames: 15}
  - turn: {yaw_deg: -40, pitch_deg: 10, frames: 22}
"""
"""71 frames: 6 chunks of 3 latent frames and 2 frames more, or 4 of 4."""


def write_inputs(folder: Path) -> None:
    """first.png, 64x64, and there.yaml."""
    picture = np.random.RandomState(3).randint(0, 256, (SIZE[1] // 8, SIZE[0] // 8, 3), dtype=np.uint8)
    Image.fromarray(picture).resize(SIZE, Image.Resampling.BICUBIC).save(folder / "first.png")
    (folder / "there.yaml").write_text(THERE_AND_BACK)


def zooming(trajectory: Trajectory) -> Trajectory:
    """The same path through a lens that zooms in by half."""
    zoom = np.linspace(1.0, 1.5, trajectory.num_frames)[:, None]
    intrinsics = np.concatenate((trajectory.intrinsics[:, :2] * zoom, trajectory.intrinsics[:, 2:]), axis=1)
    return replace(trajectory, intrinsics=intrinsics)


@dataclass(frozen=True, eq=False)
class Run:
    """A rollout that is planned.

    Attributes:
        job: As the command line prepares it, but along a zooming path.
    """

    job: Job

    @property
    def session(self) -> Session:
        return self.job.session

    @property
    def plan(self) -> MemoryPlan:
        return self.job.plan

    @property
    def noise(self) -> NoiseSource:
        width, height = self.session.frame_size
        shape = (1, 16, self.plan.layout.chunk_frames, height // 8, width // 8)
        return seeded_noise(self.job.config.seed, shape, CPU)

    def load(self, turns: Turns | None = None) -> LoadedModel:
        return self.session.load(CPU, self.job.dtype, turns or self.job.placement.turns)

    def latents(self, turns: Turns | None = None) -> list[torch.Tensor]:
        """Clean latents of every chunk, through the engine."""
        model = self.load(turns)
        memory = WorldMemory(
            self.plan,
            positions=self.job.positions,
            trained_frames=self.session.trained_frames,
            device=CPU,
            dtype=self.job.dtype,
        )
        results = rollout(
            model.controls,
            self.plan,
            memory,
            levels=model.levels,
            noise=self.noise,
            given=model.given,
            commit=self.job.config.commit,
        )
        return [result.latents for result in results]


def open_run(checkpoint: Path, inputs: Path, **settings: object) -> Run:
    """Prepare a run along the zooming path of `write_inputs`.

    Args:
        checkpoint: The model.
        inputs: Folder with first.png and there.yaml.
        settings: What differs from a run of lingbot at 64x64 with a prompt.
    """
    ours = {
        "model": "lingbot",
        "checkpoint": checkpoint,
        "traj": str(inputs / "there.yaml"),
        "image": inputs / "first.png",
        "prompt": "a quiet town",
        "size": f"{SIZE[0]}x{SIZE[1]}",
        "device": "cpu",
    }

    def zooming_script(*arguments: object) -> object:
        script = load_script(*arguments)
        return replace(script, trajectory=zooming(script.trajectory), uncut=zooming(script.uncut))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core.generate, "load_script", zooming_script)
        return Run(prepare(resolve({**ours, **settings}, {})))
