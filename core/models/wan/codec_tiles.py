"""Cuts a latent into overlapping tiles and says how their pictures are blended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from core.errors import InputError

TILE_OVERLAP = 4
"""Latent cells that neighbouring tiles share by default."""


@dataclass(frozen=True)
class Span:
    """Cells of one tile along one direction.

    Attributes:
        start: First cell.
        stop: One after the last.
        blend_before: Cells shared with the tile before.
        blend_after: Cells shared with the tile after.
    """

    start: int
    stop: int
    blend_before: int = 0
    blend_after: int = 0

    @property
    def cells(self) -> slice:
        """Its cells."""
        return slice(self.start, self.stop)

    def pixels(self, stride: int) -> slice:
        """Its pixels, `stride` a cell."""
        return slice(self.start * stride, self.stop * stride)

    def weights(self, stride: int) -> Float32[np.ndarray, " pixels"]:
        """Share of each pixel in the blended picture: linear ramps in what is shared, else one."""
        weights = np.ones((self.stop - self.start) * stride, dtype=np.float32)
        rise, fall = self.blend_before * stride, self.blend_after * stride
        weights[:rise] = _ramp(rise)
        weights[len(weights) - fall :] = 1 - _ramp(fall)
        return weights


@dataclass(frozen=True)
class Tile:
    """Rows and columns of one tile."""

    rows: Span
    cols: Span


def cut_tiles(
    rows: int, cols: int, tile: tuple[int, int] | None, overlap: int = TILE_OVERLAP
) -> tuple[Tile, ...]:
    """Tiles that cover a latent, row by row; one if it is not cut.

    Args:
        rows: Of the latent.
        cols: Of the latent.
        tile: Rows and columns of a tile at most; None for the whole latent.
        overlap: Rows and columns that neighbours share.

    Raises:
        InputError: The tile is too small for its overlap.
    """
    tile_rows, tile_cols = tile or (rows, cols)
    down = _spans(rows, tile_rows, overlap)
    across = _spans(cols, tile_cols, overlap)
    return tuple(Tile(rows=r, cols=c) for r in down for c in across)


def _spans(total: int, size: int, overlap: int) -> tuple[Span, ...]:
    if size >= total:
        return (Span(0, total),)
    if overlap < 0 or size < 2 * overlap or size < 1:
        raise InputError(
            f"a tile of {size} latent cells cannot share {overlap} with each neighbour",
            where="codec tile",
            hint=f"give at least {max(1, 2 * overlap)} cells in each direction, or a smaller overlap",
        )
    return tuple(_even_spans(total, size, overlap))


def _even_spans(total: int, size: int, overlap: int) -> Iterator[Span]:
    """As few as possible, then as small as possible: three never meet, for a step is at least the overlap."""
    fewest = -(-(total - overlap) // (size - overlap))
    step = max(-(-(total - overlap) // fewest), overlap)
    count = -(-(total - overlap) // step)
    for index in range(count):
        start = index * step
        last = index == count - 1
        yield Span(
            start=start,
            stop=total if last else start + step + overlap,
            blend_before=overlap if index else 0,
            blend_after=0 if last else overlap,
        )


def _ramp(pixels: int) -> Float32[np.ndarray, " pixels"]:
    """From nothing to everything, at the pixels' centres."""
    return (np.arange(pixels, dtype=np.float32) + np.float32(0.5)) / np.float32(max(pixels, 1))
