"""A rollout of some model, prepared from the user's settings: first without weights, then with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from core.config import GenerateConfig
from core.models.base import Controls, Decoder
from core.models.outline import Outline, WindowDefaults
from core.models.weight_cache import WeightCache
from core.placement import Turns
from core.rollout import GivenLatents
from core.sampler import NoiseLevels
from core.script import Script

__all__ = ["LoadedModel", "OnLoad", "OpenSession", "Outline", "Session", "WindowDefaults"]


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
class Session(Outline, Protocol):
    """An outline with its input and files: all that can be wrong about them has been checked, nothing loaded.

    Attributes:
        default_scale: Enlargement of the frames for display.
        given_frames: First video frames that a prefix gives.
        inputs: Files that went in.
        logged: Numbers of the model's own that the log should hold.
    """

    default_scale: int
    given_frames: int
    inputs: Mapping[str, Path]
    logged: Mapping[str, object]

    def check_files(self) -> None:
        """Look whether the model's files are there and look right, without loading them.

        Raises:
            ModelFilesError: They are not.
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
