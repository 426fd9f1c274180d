"""Latents of the clip that a rollout goes on from, encoded as they are asked for."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from core.models.wan.codec import StreamingEncoder
from core.models.wan.vae import WanVae

ClipFrames = Callable[[int, int], Float[Tensor, "1 3 frames height width"]]
"""Video frames from the first number up to the second, exclusive, in -1..1."""


class GivenClip:
    """Clean latents of the chunks that a clip gives; see `core.rollout.GivenLatents`.

    Args:
        vae: The autoencoder.
        frames: The clip.
        num_frames: Its video frames, whole chunks.
        chunk_frames: Latent frames of a chunk.
    """

    def __init__(self, vae: WanVae, frames: ClipFrames, *, num_frames: int, chunk_frames: int) -> None:
        self._encoder, self._frames, self._num_frames = StreamingEncoder(vae), frames, num_frames
        self._device, self._stride, self._chunk_frames = vae.device, vae.temporal_stride, chunk_frames

    def __call__(self, chunk: int) -> Tensor | None:
        """Latents of a chunk, or None if it is to be generated; chunks must be asked for in order."""
        start, stop = self._end(chunk), self._end(chunk + 1)
        if stop > self._num_frames:
            return None
        return self._encoder.push(self._frames(start, stop).to(self._device))

    def _end(self, chunks: int) -> int:
        """Video frames of the first chunks: the first latent frame is one."""
        return max(0, 1 + (chunks * self._chunk_frames - 1) * self._stride)
