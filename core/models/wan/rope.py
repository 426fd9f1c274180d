"""Rotary position embedding over latent frame, row and column.

Source: Su et al. 2021, arXiv:2104.09864, split over three axes as in Wan 2.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor


class RotaryTable:
    """Angles of the three axes; no table of fixed length, so no cap on the rollout's length.

    Of the `head_dim / 2` pairs of neighbouring features the last third turns with the column, the third
    before it with the row (each rounded down) and all others with the latent frame. Within a group of m
    pairs, pair i turns by position * 10000^(-i/m).

    Args:
        head_dim: Width of a head; even.
        device: Where angles are computed. float64 is used where the device has it.
    """

    def __init__(self, head_dim: int, *, device: torch.device | str = "cpu") -> None:
        pairs = head_dim // 2
        side = head_dim // 6
        self.sizes = (pairs - 2 * side, side, side)
        self.device = torch.device(device)
        self._dtype = torch.float32 if self.device.type == "mps" else torch.float64
        self._frequencies = [
            10000.0 ** (-torch.arange(m, device=self.device, dtype=self._dtype) / m) for m in self.sizes
        ]

    def angles(
        self, frames: Int[Tensor, " tokens"], rows: Int[Tensor, " tokens"], cols: Int[Tensor, " tokens"]
    ) -> Float[Tensor, "tokens pairs"]:
        """Angle of every pair for tokens at the given latent frame, row and column."""
        axes = zip((frames, rows, cols), self._frequencies, strict=True)
        return torch.cat([positions[:, None].to(self._dtype) * freq for positions, freq in axes], dim=1)

    def rotation(
        self, frames: Int[Tensor, " tokens"], rows: Int[Tensor, " tokens"], cols: Int[Tensor, " tokens"]
    ) -> Rotation:
        """Cosines and sines for tokens at the given positions."""
        return Rotation.from_angles(self.angles(frames, rows, cols))

    def grid_rotation(self, frames: Sequence[int], grid: tuple[int, int]) -> Rotation:
        """Rotation of whole latent frames, tokens in (frame, row, column) order."""
        rows, cols = grid
        index = torch.arange(len(frames) * rows * cols, device=self.device)
        frame_of = torch.tensor(list(frames), device=self.device)[index // (rows * cols)]
        return self.rotation(frame_of, index // cols % rows, index % cols)


class Rotation:
    """Turns a set of tokens: a pair (a, b) becomes (a cos - b sin, a sin + b cos).

    Kept as complex numbers: one product turns all pairs, several times faster than by real parts.
    """

    def __init__(
        self, cos: Float[Tensor, "*batch tokens pairs"], sin: Float[Tensor, "*batch tokens pairs"]
    ) -> None:
        self.turns = torch.complex(cos, sin)

    @classmethod
    def from_angles(cls, angles: Float[Tensor, "*batch tokens pairs"]) -> Rotation:
        """Rotation by the given angles, kept in float32."""
        return cls(angles.cos().float(), angles.sin().float())

    def part(self, tokens: slice) -> Rotation:
        """The rotation of some of the tokens; shares memory with this one."""
        made = Rotation.__new__(Rotation)
        made.turns = self.turns[..., tokens, :]
        return made

    def apply(
        self, x: Shaped[Tensor, "*batch tokens heads head_dim"]
    ) -> Shaped[Tensor, "*batch tokens heads head_dim"]:
        """Turn queries or keys; computed in float32, returned in the input's dtype."""
        pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * self.turns[..., None, :]).flatten(-2).to(x.dtype)
