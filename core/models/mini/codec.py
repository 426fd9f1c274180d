"""The embedded model's codec: principal components of 8x8 pixel cells.

Exact to compute, nothing to train, one latent frame per picture. Components are divided by the square root of
their standard deviation (partial whitening): fine detail gets a voice without drowning out the coarse.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from core.models.mini.config import CELL_PX


class PatchCodec(nn.Module):
    """Linear map between pictures in 0..1 and latents.

    Attributes:
        basis: Orthonormal components, one a row: [channels, 3 * 64] in (colour, y, x) order.
        mean: Mean cell.
        scale: Factor from a component's coefficient to its latent channel.
    """

    basis: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        features = 3 * CELL_PX * CELL_PX
        self.register_buffer("basis", torch.zeros(channels, features))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(channels))

    @classmethod
    def fit(cls, pictures: Float[Tensor, "frames 3 height width"], channels: int) -> PatchCodec:
        """Principal components of the cells of many pictures."""
        codec = cls(channels)
        cells = F.pixel_unshuffle(pictures, CELL_PX).permute(0, 2, 3, 1).flatten(0, 2).double()
        mean = cells.mean(0)
        centred = cells - mean
        values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
        deviation = values.flip(0)[:channels].clamp(min=1e-9).sqrt()
        scale = deviation**-0.5
        scale = scale / (scale * deviation).square().mean().sqrt()  # latents of unit mean square
        codec.basis.copy_(vectors.flip(1)[:, :channels].T)
        codec.mean.copy_(mean)
        codec.scale.copy_(scale)
        return codec

    def encode(
        self, pictures: Float[Tensor, "frames 3 height width"]
    ) -> Float[Tensor, "frames channels h w"]:
        """Latents of pictures in 0..1."""
        cells = F.pixel_unshuffle(pictures, CELL_PX) - self.mean[:, None, None]
        return torch.einsum("cp,fphw->fchw", self.basis * self.scale[:, None], cells)

    def decode(self, latents: Float[Tensor, "frames channels h w"]) -> Float[Tensor, "frames 3 height width"]:
        """Pictures of latents; values may leave 0..1 a little and are not clamped."""
        cells = torch.einsum("cp,fchw->fphw", self.basis / self.scale[:, None], latents)
        return F.pixel_shuffle(cells + self.mean[:, None, None], CELL_PX)
