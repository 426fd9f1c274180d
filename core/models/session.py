"""A rollout of some model, prepared from the user's settings: first without weights, then with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from core.config import GenerateConfig
from core.memory.footprint import Footprint
from core.memory.plan import MemoryPlan
from core.memory.positions import PositionMode
from core.memory.viewpoints import Viewpoints
from core.models.base import Controls, Decoder
from core.models.weight_cache import WeightCache
from core.placement import Parts, Turns
from core.rollout import GivenLatents
from core.sampler import NoiseLevels
from core.script import Script
from trajectories import Trajectory


@dataclass(frozen=True)
class WindowDefaults:
    """How a model is best run, in latent frames and in chunks' worth of retrieved tokens."""

    sink_frames: int
    recent_frames: int
    retrieve_chunks: Mapping[str, float]
    strategy: str = "rays"
    positions: PositionMode = PositionMode.ABSOLUTE


@dataclass(frozen=True)
class LoadedModel:
    """Everything a rollout needs of a model once its weights are there.

    Attributes:
        controls: Conditioning of every chunk.
        decoder: Latents to video frames.
        levels: Noise levels of the sampler.
        latent_shape: Channels, rows and columns of a latent frame.
        given: Latents of the chunks that are not generated.
        parameter_bytes: Bytes of the weights.
    """

    controls: Controls
    decoder: Decoder
    levels: NoiseLevels
    latent_shape: tuple[int, int, int]
    given: GivenLatents | None
    parameter_bytes: int


OnLoad = Callable[[str, int, int], None]
"""Told while weights load: what is being loaded, bytes done, bytes in all (0 where nobody can tell).

It may raise, to stop."""


@runtime_checkable
class Session(Protocol):
    """A rollout prepared without weights: all that can be wrong about the input has been checked.

    Attributes:
        trajectory: What is generated, whole chunks, a prefix included.
        viewpoints: Cameras of the latent frames.
        defaults: How the model is best run.
        frame_size: Width and height of a video frame in pixels.
        default_scale: Enlargement of the frames for display.
        trained_frames: Latent frames back that the model saw in training.
        passes: Denoising passes of a chunk; the clean one comes on top.
        inputs: Files that went in.
        notes: What the user should know before it starts.
        logged: Numbers of the model's own that the log should hold.
        ways_out: Flags that would take less memory.
    """

    trajectory: Trajectory
    viewpoints: Viewpoints
    defaults: WindowDefaults
    frame_size: tuple[int, int]
    default_scale: int
    trained_frames: int
    passes: int
    inputs: Mapping[str, Path]
    notes: tuple[str, ...]
    logged: Mapping[str, object]
    ways_out: tuple[str, ...]

    def footprint(self, dtype: torch.dtype) -> Footprint:
        """Shapes and bytes of keys, values and weights."""
        ...

    def check_files(self) -> None:
        """Look whether the model's files are there and look right, without loading them.

        Raises:
            ModelFilesError: They are not.
        """
        ...

    def options(self, plan: MemoryPlan, dtype: torch.dtype) -> Iterator[tuple[Turns, Parts]]:
        """What can be turned when memory is short, from the fastest to the smallest, and what each takes.

        Only what the user left open is turned. Window and bank are not counted: they are the plan's.

        Args:
            plan: The rollout's memory.
            dtype: Of weights, keys and values.
        """
        ...

    def load(
        self,
        device: torch.device,
        dtype: torch.dtype,
        turns: Turns,
        on_load: OnLoad | None = None,
        weights: WeightCache | None = None,
    ) -> LoadedModel:
        """Load the weights, or take those that `weights` keeps, and bind them to the input."""
        ...


@runtime_checkable
class OpenSession(Protocol):
    """Prepares a session from settings and what will be shown."""

    def __call__(self, config: GenerateConfig, script: Script) -> Session:
        """Check everything that can be checked without weights."""
        ...
