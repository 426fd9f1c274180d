"""How much of a coming chunk's view another chunk sees, measured on points sampled in its frustums."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int

from core.errors import InputError
from core.memory.viewpoints import Viewpoints

BLOCK_FRAMES = 512
"""Frames tested at once: bounds the working memory of long rollouts."""


@dataclass(frozen=True, kw_only=True)
class OverlapSampling:
    """Points that stand for a view. What hides behind a wall is not known here and counts as seen.

    Attributes:
        columns: Sampled pixel columns of a frame.
        rows: Sampled pixel rows of a frame.
        depths: Distances along the optical axis, in trajectory units. Pure rotation does not depend on them.
    """

    columns: int = 4
    rows: int = 3
    depths: tuple[float, ...] = (1.0, 3.0, 9.0)

    def __post_init__(self) -> None:
        if min(self.columns, self.rows) < 1 or not self.depths or min(self.depths) <= 0:
            raise InputError(
                f"view overlap needs sample points at positive depths, got {self}", where="overlap"
            )


class OverlapTable:
    """Sample points and viewing frustums of all chunks, ready for visibility tests."""

    def __init__(self, viewpoints: Viewpoints, sampling: OverlapSampling) -> None:
        self._chunk_frames = viewpoints.chunk_frames
        # Far-away worlds would lose float32 precision; only differences matter.
        self._centre = viewpoints.positions.mean(axis=0)
        self._shape = (viewpoints.chunk_frames, len(sampling.depths), sampling.rows, sampling.columns)
        self._points = _sample_points(viewpoints, sampling, self._centre)
        self._planes = _side_planes(viewpoints, self._centre)

    @property
    def points_shape(self) -> tuple[int, int, int, int]:
        """Frames of a chunk, depths, rows and columns of its sample points."""
        return self._shape

    @property
    def planes(self) -> Float32[np.ndarray, "4 chunks frames 4"]:
        """Side planes of every frustum; a point inside has no negative product."""
        return self._planes

    def points(self, first: int, last: int) -> Float32[np.ndarray, "chunks frames depths rows columns 3"]:
        """Sample points of a range of chunks."""
        points = self._points[first:last, :3]
        return points.swapaxes(1, 2).reshape(len(points), *self._shape, 3)

    @property
    def num_points(self) -> int:
        """Sample points of a chunk."""
        return int(self._points.shape[2])

    def visible(
        self, chunk: int, others: Sequence[int] | Int[np.ndarray, " n"]
    ) -> Bool[np.ndarray, "others points"]:
        """Which sample points of a chunk's view at least one frame of each other chunk sees."""
        index = np.asarray(others, dtype=np.int64)
        seen = np.empty((len(index), self.num_points), dtype=bool)
        step = max(1, BLOCK_FRAMES // self._chunk_frames)
        for start in range(0, len(index), step):
            block = index[start : start + step]
            planes = self._planes[:, block].reshape(-1, 4)
            # (4 planes, others, frames, points): inside means in front of all four side planes
            inside = (planes @ self._points[chunk]).reshape(4, len(block), self._chunk_frames, -1)
            inside = np.minimum(np.minimum(inside[0], inside[1]), np.minimum(inside[2], inside[3]))
            seen[start : start + step] = functools.reduce(np.maximum, inside.swapaxes(0, 1)) >= 0
        return seen

    def overlaps(
        self, chunk: int, others: Sequence[int] | Int[np.ndarray, " n"]
    ) -> Float64[np.ndarray, " others"]:
        """Share of a chunk's view that each other chunk sees. Range: [0, 1]."""
        return np.asarray(np.count_nonzero(self.visible(chunk, others), axis=1) / self.num_points)


@lru_cache(maxsize=4)
def overlap_table(viewpoints: Viewpoints, sampling: OverlapSampling) -> OverlapTable:
    """The table of these viewpoints, built once."""
    return OverlapTable(viewpoints, sampling)


def _sample_points(
    viewpoints: Viewpoints, sampling: OverlapSampling, centre: Float64[np.ndarray, " 3"]
) -> Float32[np.ndarray, "chunks 4 points"]:
    """Homogeneous world points: a grid of pixels of every frame at a few depths."""
    width, height = viewpoints.image_size
    u = (np.arange(sampling.columns) + 0.5) * (width / sampling.columns)
    v = (np.arange(sampling.rows) + 0.5) * (height / sampling.rows)
    pixels = sampling.rows * sampling.columns * len(sampling.depths)
    by_chunk = np.empty((viewpoints.num_chunks, 4, viewpoints.chunk_frames * pixels), dtype=np.float32)
    step = max(1, BLOCK_FRAMES // viewpoints.chunk_frames)
    for start in range(0, viewpoints.num_chunks, step):
        chunks = slice(start, start + step)
        block = slice(start * viewpoints.chunk_frames, (start + step) * viewpoints.chunk_frames)
        fx, fy, cx, cy = viewpoints.intrinsics[block].T[:, :, None, None]
        rays = np.ones((fx.shape[0], sampling.rows, sampling.columns, 3))
        rays[..., 0] = (u[None, None, :] - cx) / fx
        rays[..., 1] = (v[None, :, None] - cy) / fy
        in_camera = rays[:, None] * np.asarray(sampling.depths)[None, :, None, None, None]
        flat = in_camera.reshape(len(rays), -1, 3)
        world = np.matmul(flat, viewpoints.c2w[block, :3, :3].swapaxes(1, 2))
        world += (viewpoints.positions[block] - centre)[:, None]
        by_chunk[chunks, :3] = world.reshape(len(by_chunk[chunks]), -1, 3).swapaxes(1, 2)
    by_chunk[:, 3] = 1
    return by_chunk


def _side_planes(
    viewpoints: Viewpoints, centre: Float64[np.ndarray, " 3"]
) -> Float32[np.ndarray, "4 chunks frames 4"]:
    """Left, right, top, bottom of every frustum; a point inside has no negative product.

    Opposite sides add up to a multiple of the depth, so that no near plane is needed.
    """
    width, height = viewpoints.image_size
    fx, fy, cx, cy = viewpoints.intrinsics.T
    zero = np.zeros_like(fx)
    normals = np.stack(
        [
            np.stack([fx, zero, cx], axis=-1),
            np.stack([-fx, zero, width - cx], axis=-1),
            np.stack([zero, fy, cy], axis=-1),
            np.stack([zero, -fy, height - cy], axis=-1),
        ]
    )
    # A slack of a thousandth of a pixel: a view always sees its own border.
    normals[..., 2] += 1e-3
    world = np.einsum("fij,pfj->pfi", viewpoints.c2w[:, :3, :3], normals)
    offsets = -np.einsum("pfi,fi->pf", world, viewpoints.positions - centre)
    planes = np.concatenate([world, offsets[..., None]], axis=-1)
    shape = (4, viewpoints.num_chunks, viewpoints.chunk_frames, 4)
    return planes.reshape(shape).astype(np.float32)
