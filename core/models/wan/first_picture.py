"""The condition channels of image-to-video models: where the picture is, and its latents."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

MASK_CHANNELS = 4

log = logging.getLogger(__name__)

MOST_EARLY_FRAMES = 96
"""Latent frames that are encoded ahead at most until the picture's latents stay the same."""


@runtime_checkable
class FollowedByNothing(Protocol):
    """Latents of a picture and empty frames; see `core.models.wan.codec_condition.PictureCondition`."""

    @property
    def steady_after(self) -> int | None:
        """Latent frames until nothing changes any more; None before that."""
        ...

    def frames(self, start: int, stop: int) -> Float[Tensor, "batch channels frames h w"]:
        """Latent frames `start` to `stop` (exclusive), in order."""
        ...


class FirstPicture:
    """The condition channels of any chunk: a mask and the latents of the picture, followed by empty frames.

    The latents that still change are made at once, so that the encoder's memory is free before the rollout.

    Args:
        condition: Latents of the picture and what follows it.
        num_frames: Latent frames of the rollout.
        on_frame: Called before each of the latent frames that are made at once; may raise to stop.
    """

    def __init__(
        self,
        condition: FollowedByNothing,
        num_frames: int,
        *,
        on_frame: Callable[[], None] = lambda: None,
    ) -> None:
        early: list[Tensor] = []
        while not early or (
            condition.steady_after is None and len(early) < min(num_frames, MOST_EARLY_FRAMES)
        ):
            on_frame()
            early.append(condition.frames(len(early), len(early) + 1))
        self._early = torch.cat(early, dim=2)
        # A short rollout ends before its latents are steady: the encoder's memory must not outlive this.
        self._later = condition if len(early) < num_frames else None
        log.info("latents of the picture: steady after %s latent frames", condition.steady_after)

    def channels(self, frames: range) -> Float[Tensor, "1 channels frames h w"]:
        """Mask and latents of some latent frames, in order."""
        ready = self._early[:, :, frames.start : frames.stop]
        if ready.shape[2] < len(frames) and self._later is not None:
            later = self._later.frames(max(frames.start, self._early.shape[2]), frames.stop)
            ready = torch.cat((ready, later), dim=2)
        mask = ready.new_zeros(1, MASK_CHANNELS, *ready.shape[2:])
        if 0 in frames:
            mask[:, :, frames.index(0)] = 1.0
        return torch.cat((mask, ready), dim=1)
