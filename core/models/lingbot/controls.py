"""What steers a LingBot rollout: the camera, the first picture, the text."""

from __future__ import annotations

import logging
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from core.memory.viewpoints import Viewpoints
from core.models.lingbot.config import MASK_CHANNELS
from core.models.lingbot.path import CameraPath
from core.models.wan.denoiser import TimeTable, WanDenoiser
from core.models.wan.network import WanNetwork

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
    """

    def __init__(self, condition: FollowedByNothing, num_frames: int) -> None:
        self._condition = condition
        early = [condition.frames(0, 1)]
        while condition.steady_after is None and len(early) < min(num_frames, MOST_EARLY_FRAMES):
            early.append(condition.frames(len(early), len(early) + 1))
        self._early = torch.cat(early, dim=2)
        log.info("latents of the picture: steady after %s latent frames", condition.steady_after)

    def channels(self, frames: range) -> Float[Tensor, "1 channels frames h w"]:
        """Mask and latents of some latent frames, in order."""
        ready = self._early[:, :, frames.start : frames.stop]
        if ready.shape[2] < len(frames):
            later = self._condition.frames(max(frames.start, self._early.shape[2]), frames.stop)
            ready = torch.cat((ready, later), dim=2)
        mask = ready.new_zeros(1, MASK_CHANNELS, *ready.shape[2:])
        if 0 in frames:
            mask[:, :, frames.index(0)] = 1.0
        return torch.cat((mask, ready), dim=1)


class LingBotControls:
    """See `core.models.base.Controls`.

    Args:
        network: The network.
        path: Cameras.
        picture: Condition channels.
        context: The encoded prompt.
        camera_ready: Whether what the camera does in every layer is computed once a chunk, or in every pass.
    """

    def __init__(
        self,
        network: WanNetwork,
        path: CameraPath,
        picture: FirstPicture,
        context: Float[Tensor, "1 valid text_dim"],
        *,
        camera_ready: bool = True,
    ) -> None:
        self._network, self._path, self._picture = network, path, picture
        self._camera_ready = camera_ready
        self._times = TimeTable(network)
        with torch.inference_mode():
            self._text = network.embed_text(context.to(network.patch_embedding.weight))

    @property
    def viewpoints(self) -> Viewpoints:
        """Where the latent frames look from."""
        return self._path.viewpoints

    def chunk(self, index: int) -> WanDenoiser:
        """The network with the conditioning of a chunk."""
        frames, weight = self.viewpoints.frames_of(index), self._network.patch_embedding.weight
        features = self._path.features(frames, weight.device).to(weight.dtype)
        network = self._network
        return WanDenoiser(
            network,
            self._times,
            condition=network.embed_condition(self._picture.channels(frames).to(weight)),
            camera=network.camera_modulations(features)
            if self._camera_ready
            else network.embed_camera(features),
            text=self._text,
        )
