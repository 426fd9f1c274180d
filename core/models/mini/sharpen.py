"""A small learned decoder on top of the linear one: it takes the token edges off and restores fine detail.

The linear decoder sees one cell of 8x8 pixels at a time. This one also sees the neighbouring cells and adds
what is missing. It has no memory of earlier pictures: decoding stays chunk by chunk.
"""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from core.models.mini.config import CELL_PX, LATENT_CHANNELS
from core.models.mini.decoder_bytes import SHARPENER_WIDTH, sharpener_sizes


class Sharpener(nn.Module):
    """Convolutions over latent cells whose output is added to the linearly decoded picture."""

    def __init__(self, channels: int = LATENT_CHANNELS, width: int = SHARPENER_WIDTH) -> None:
        super().__init__()
        sizes = sharpener_sizes(channels, width)
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1, padding_mode="replicate") for a, b in pairwise(sizes)
        )
        last = self.layers[-1]
        nn.init.zeros_(last.weight)  # type: ignore[arg-type]  # starts as the linear decoder
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(
        self, latents: Float[Tensor, "frames channels h w"]
    ) -> Float[Tensor, "frames 3 height width"]:
        """What to add to the linearly decoded picture."""
        x = latents
        for i, layer in enumerate(self.layers):
            y = layer(F.gelu(x) if i else x)
            x = x + y if y.shape == x.shape else y
        return F.pixel_shuffle(x, CELL_PX)
