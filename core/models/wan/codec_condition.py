"""Latents of a picture that is followed by nothing: what image-to-video models are conditioned on."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from core.errors import InputError
from core.models.wan.codec import StreamingEncoder
from core.models.wan.vae import WanVae


class PictureCondition:
    """Latents of one picture and then empty frames without end, made as they are asked for.

    The encoder sees only so far back, so its latents stop changing some frames after the picture. From the
    step that leaves all that it remembers equal bit by bit, every later latent is equal too: nothing is
    computed any more, and the encoder's memory is freed. Where that never happens, it goes on encoding.

    Args:
        vae: The autoencoder.
        picture: The first picture of each rollout of the batch, in -1..1.
        empty_level: Colour of the frames after it; 0 is mid-grey.
    """

    def __init__(
        self, vae: WanVae, picture: Float[Tensor, "batch 3 height width"], *, empty_level: float = 0.0
    ) -> None:
        self._source: StreamingEncoder | Tensor = StreamingEncoder(vae, watch=True)
        self._picture = picture[:, :, None]
        self._empty_level, self._group = empty_level, vae.temporal_stride
        self._next = 0  # latent frame that comes next; stays where the latents became steady

    @property
    def steady_after(self) -> int | None:
        """Latent frames that were encoded until nothing changed any more; None before that."""
        return self._next if isinstance(self._source, Tensor) else None

    @property
    def cache_bytes(self) -> int:
        """Bytes of what the encoder remembers; nothing once the latents are steady."""
        return 0 if isinstance(self._source, Tensor) else self._source.cache.nbytes

    def frames(self, start: int, stop: int) -> Float[Tensor, "batch channels frames h w"]:
        """Normalised latents of the latent frames `start` to `stop` (exclusive), in float32.

        Frames that are skipped are encoded and dropped.

        Raises:
            InputError: No frames are asked for, or some that were passed already.
        """
        # All steady frames are equal, so that they may be asked for in any order.
        earliest = self._next - isinstance(self._source, Tensor)
        if not max(0, earliest) <= start < stop:
            raise InputError(
                f"latent frames {start} to {stop} of a picture cannot be had: the next one is {earliest}",
                where="picture condition",
                hint="ask for frames in order",
            )
        while self._next < start and self.steady_after is None:
            self._latent()
        return torch.cat([self._latent() for _ in range(start, stop)], dim=2)

    def _latent(self) -> Tensor:
        if isinstance(self._source, Tensor):
            return self._source
        latent = self._source.push(self._picture if self._next == 0 else self._empty())
        self._next += 1
        if self._source.cache.settled:
            self._source = latent
        return latent

    def _empty(self) -> Tensor:
        batch, colours, _, height, width = self._picture.shape
        level = torch.full((), self._empty_level, device=self._picture.device, dtype=self._picture.dtype)
        return level.expand(batch, colours, self._group, height, width)
