"""Distances between rays of coming chunks and cells of past frames, without comparing all with all.

A ray's nearest cell in a frame is the one in which it lands when it is projected into the frame, or the
border cell by which it passes the frame.

shapes: b coming chunks, q query rays of each, s past frames for each chunk
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, Int64

from core.memory.strategies.ray_cells import CellGrid, CellRays
from core.memory.strategies.ray_depths import arcs
from core.memory.viewpoints import Viewpoints

USELESS = np.iinfo(np.int32).max
"""Key of a cell that is out of reach or does not exist."""

LEVEL_OFFSET = np.float32(0.49)
"""Rounds distances to levels. Not 0.5: regular grids and angles would often lie exactly on the border of two
levels, where rounding noise decides."""


def far_level(count: int) -> int:
    """Levels from this one on are not told apart in keys of so many ids: millions of levels for thousands."""
    return USELESS // count // 2


@dataclass(frozen=True, eq=False, kw_only=True)
class RayMetric:
    """How far a ray of a coming chunk is from a cell of a past frame.

    Attributes:
        viewpoints: Cameras.
        cells: How frames fall into cells.
        rays: Rays of the cells.
        rotations: Axes of all cameras: column, frame, world axis.
        inverse_depth: Of the nearest depth, in 1 / trajectory units; 0 for infinity.
        weight: Radians that one trajectory unit between camera centres counts for.
        level_rad: Width of a level.
        pitch_levels: Levels from a cell to its neighbour.
        max_distance: Cells further than this are of no use, in radians; None for no limit.
    """

    viewpoints: Viewpoints
    cells: CellGrid
    rays: CellRays
    rotations: Float32[np.ndarray, "3 frames 3"]
    inverse_depth: float
    weight: float
    level_rad: float
    pitch_levels: int
    max_distance: float | None

    def world_rays(self, frames: Int64[np.ndarray, "b m"]) -> Float32[np.ndarray, "b m cells 3"]:
        """Rays of all cells of some frames, in the world's axes."""
        turned = np.moveaxis(self.rotations[:, frames], 0, 2)
        return np.asarray(self.rays.directions[self.rays.kind[frames]] @ turned)

    def keys(
        self,
        distances: Float32[np.ndarray, "b q s"],
        ids: Int32[np.ndarray, "*_"],
        count: int,
    ) -> Int32[np.ndarray, "b q s"]:
        """Level * count + id, or USELESS where the distance is infinite or too large."""
        levels = distances * np.float32(1 / self.level_rad) + LEVEL_OFFSET
        np.minimum(levels, np.float32(far_level(count)), out=levels)
        keys = levels.astype(np.int32)
        keys *= np.int32(count)
        keys += ids
        limit = np.float32(np.inf if self.max_distance is None else self.max_distance)
        keys[(distances > limit) | np.isinf(distances)] = USELESS
        return np.asarray(keys)


class RayPairs:
    """Rays of coming chunks, seen from past frames.

    Args:
        metric: What distance means.
        coming: Latent frames of the coming chunks.
        rays: Their rays in the world's axes: equally many of each frame, frame after frame.
        frames: Past frames for each chunk; -1 for none.
    """

    def __init__(
        self,
        metric: RayMetric,
        coming: Int64[np.ndarray, "b m"],
        rays: Float32[np.ndarray, "b q 3"],
        frames: Int64[np.ndarray, "b s"],
    ) -> None:
        self._metric = metric
        views = metric.viewpoints
        past = np.maximum(frames, 0)
        axes = np.swapaxes(metric.rotations[:, past], -1, -2)
        self._local = rays @ axes  # x, y, z of (b, q, s)
        offset = (views.positions[coming][:, :, None] - views.positions[past][:, None]).astype(np.float32)
        gaps = np.float32(metric.weight) * np.sqrt(np.einsum("bmsc,bmsc->bms", offset, offset))
        gaps[np.broadcast_to(frames[:, None] < 0, gaps.shape)] = np.inf
        self._gaps = np.repeat(gaps, rays.shape[1] // coming.shape[1], axis=1)
        if metric.inverse_depth > 0:
            offset *= np.float32(metric.inverse_depth)
            self._aim(rays.reshape(*coming.shape, -1, 3), offset, axes)
        self._kind = metric.rays.kind[past].astype(np.int32)
        self._cell = self._landing()

    def _aim(
        self,
        rays: Float32[np.ndarray, "b m c 3"],
        offset: Float32[np.ndarray, "b m s 3"],
        axes: Float32[np.ndarray, "3 b 3 s"],
    ) -> None:
        """Turn the rays to the middles of their arcs, and count the half angles."""
        along = rays @ offset.swapaxes(2, 3)
        stretch, length, half = arcs(along, np.square(offset).sum(axis=-1)[:, :, None])
        self._gaps += half.reshape(self._gaps.shape)
        np.reciprocal(length, out=length)
        stretch *= length
        for local, axis in zip(self._local, axes, strict=True):
            by_frame = local.reshape(along.shape)
            by_frame *= stretch
            by_frame += length * np.einsum("bmsc,bcs->bms", offset, axis)[:, :, None]

    def frame_keys(self) -> Int32[np.ndarray, "b q s"]:
        """Keys of the frames by their nearest cell: level * s + frame, or USELESS."""
        count = self._gaps.shape[-1]
        return self._metric.keys(self._distances(), np.arange(count, dtype=np.int32), count)

    def cell_keys(self) -> Int32[np.ndarray, "b q s"]:
        """Keys of the nearest cell of each frame: level * (s * cells) + frame * cells + cell, or USELESS."""
        count, cells = self._gaps.shape[-1], self._metric.cells.num_cells
        ids = self._cell + np.arange(count, dtype=np.int32) * np.int32(cells)
        return self._metric.keys(self._distances(), ids, count * cells)

    def _distances(self) -> Float32[np.ndarray, "b q s"]:
        """Distances to the nearest cells, in radians; infinite for a frame that does not exist."""
        table, cells = self._metric.rays.directions.reshape(-1, 3), self._metric.cells.num_cells
        at = self._cell if len(table) == cells else self._cell + self._kind[:, None] * np.int32(cells)
        cosines = self._local[0] * table[:, 0].take(at)
        cosines += self._local[1] * table[:, 1].take(at)
        cosines += self._local[2] * table[:, 2].take(at)
        distances = np.arccos(np.clip(cosines, -1, 1, out=cosines), out=cosines)
        distances += self._gaps
        return np.asarray(distances)

    def _landing(self) -> Int32[np.ndarray, "b q s"]:
        """The cell in which each ray lands, or by which it passes the frame."""
        x, y, z = self._local
        rows, cols = self._metric.cells.shape
        to_cells = self._metric.rays.to_cells[self._kind][:, None]
        # Rays from behind and from far outside land at the border that they are nearest to.
        inverse = 1 / np.maximum(z, np.float32(np.cos(self._metric.rays.cones.max())))
        col = x * inverse
        col *= to_cells[..., 0]
        col += to_cells[..., 1]
        row = y * inverse
        row *= to_cells[..., 2]
        row += to_cells[..., 3]
        cell = np.clip(row, 0, rows - 1, out=row).astype(np.int32)
        cell *= np.int32(cols)
        cell += np.clip(col, 0, cols - 1, out=col).astype(np.int32)
        return np.asarray(cell)
