"""The contract between the rollout and a model. The rollout knows no model by name."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from core.memory.footprint import Footprint
from core.memory.viewpoints import Viewpoints
from core.models.wan.block import SelfAttentionCache
from core.sampler import NoiseLevels


@runtime_checkable
class Denoiser(Protocol):
    """A model bound to the conditioning of one chunk: prepared once, used in every pass of the chunk."""

    def flow(
        self, latents: Float[Tensor, "batch channels frames h w"], timestep: float, cache: SelfAttentionCache
    ) -> Float[Tensor, "batch channels frames h w"]:
        """Predict the flow (noise minus clean latents) at a timestep of 0 to 1000."""
        ...


@runtime_checkable
class Controls(Protocol):
    """What steers a rollout: the conditioning of every chunk, and where its frames look from."""

    @property
    def viewpoints(self) -> Viewpoints:
        """Cameras of all latent frames."""
        ...

    def chunk(self, index: int) -> Denoiser:
        """The model with the conditioning of a chunk."""
        ...


@runtime_checkable
class Decoder(Protocol):
    """Turns latents into pictures, chunk by chunk, in constant memory."""

    def push(
        self, latents: Float[Tensor, "batch channels frames h w"]
    ) -> UInt8[np.ndarray, "batch pictures height width 3"]:
        """Video frames of the next chunk."""
        ...


@runtime_checkable
class WorldModel(Protocol):
    """An autoregressive world model.

    Attributes:
        name: The word for it on the command line.
        chunk_frames: Latent frames denoised together.
        levels: Noise levels of its sampler.
        trained_frames: Latent frames back from the newest that it saw in training.
    """

    name: str
    chunk_frames: int
    levels: NoiseLevels
    trained_frames: int

    @property
    def footprint(self) -> Footprint:
        """Shapes and bytes of keys and values."""
        ...

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of a latent frame."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Of weights, keys and values."""
        ...

    def decoder(self) -> Decoder:
        """A fresh decoder for one video."""
        ...
