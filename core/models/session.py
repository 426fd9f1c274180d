"""A rollout of some model, prepared from the user's settings: first without weights, then with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from core.config import GenerateConfig
from core.memory.footprint import Footprint
from core.memory.viewpoints import Viewpoints
from core.models.base import Controls, Decoder
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
        inputs: Files that went in.
    """

    trajectory: Trajectory
    viewpoints: Viewpoints
    defaults: WindowDefaults
    frame_size: tuple[int, int]
    default_scale: int
    trained_frames: int
    inputs: Mapping[str, Path]

    def footprint(self, dtype: torch.dtype) -> Footprint:
        """Shapes and bytes of keys, values and weights."""
        ...

    def check_files(self) -> None:
        """Look whether the model's files are there and look right, without loading them.

        Raises:
            ModelFilesError: They are not.
        """
        ...

    def load(self, device: torch.device, dtype: torch.dtype) -> LoadedModel:
        """Load the weights and bind them to the input."""
        ...


@runtime_checkable
class OpenSession(Protocol):
    """Prepares a session from settings and what will be shown."""

    def __call__(self, config: GenerateConfig, script: Script) -> Session:
        """Check everything that can be checked without weights."""
        ...
