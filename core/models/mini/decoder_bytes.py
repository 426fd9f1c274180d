"""What the embedded model's codec and sharpener take: integers, no torch."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from core.elements import WIDE_BYTES
from core.models.mini.config import CELL_PX, LATENT_CHANNELS

SHARPENER_WIDTH: Final = 128
"""Channels between the sharpener's convolutions."""


def sharpener_sizes(channels: int = LATENT_CHANNELS, width: int = SHARPENER_WIDTH) -> tuple[int, ...]:
    """Channels before and after each convolution of the sharpener."""
    return channels, width, width, width, 3 * CELL_PX * CELL_PX


def decoder_bytes() -> int:
    """Bytes of what makes pictures of latents, without weights: the codec and what sharpens; in float32."""
    cell = 3 * CELL_PX * CELL_PX
    codec = LATENT_CHANNELS * cell + cell + LATENT_CHANNELS
    sharpener = sum(9 * a * b + b for a, b in pairwise(sharpener_sizes()))
    return WIDE_BYTES * (codec + sharpener)
