"""How many past chunks truly overlap a coming one, without testing every point against every chunk.

The counts equal those of `OverlapTable.overlaps`. Most pairs of chunks are settled by a sphere around the
nearer sample points: a frustum that holds it sees enough, one that lies apart from it sees too little. Most
of the others are settled by small spheres, each around one pixel's points in all frames of the chunk; the
rest point by point. Chunks that look at the world in the same way are tested once. Of very long rollouts
every so many-th chunk is tested and stands for those that follow it: see `Relevant`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64

from core.memory.overlap import OverlapTable
from core.memory.viewpoints import Viewpoints

BLOCK_COMING = 32
"""Coming chunks tested at once."""

BLOCK_PAST = 1024
"""Past chunks tested at once."""

BLOCK_UNSETTLED = 512
"""Past chunks tested at once with the small spheres."""

ROUNDING = 1e-5
"""Share of the world's extent by which a sphere must clear a frustum's border: far above float32 rounding."""

SAME_VIEW = 1e9
"""Views that are equal to the ninth decimal are the same."""

EXACT_VIEWS = 2500
"""Different views up to which every chunk is tested: half an hour of video at three latent frames a chunk."""


@dataclass(frozen=True, eq=False)
class Relevant:
    """How many past chunks outside its native window truly overlap each chunk's view.

    Where `every` is larger than 1, the counts are those of a rollout in which chunks `every * n + 1`, ...
    look where chunk `every * n` looks. Of each stretch of chunks that see the view, fewer than `every` chunks
    are then missed, or counted too many, at either end.

    Attributes:
        counts: One number a chunk.
        every: Every so many-th chunk was tested; 1 for exact counts.
    """

    counts: Int64[np.ndarray, " chunks"]
    every: int


def relevant_counts(
    viewpoints: Viewpoints, table: OverlapTable, outside: Sequence[range], hit_overlap: float
) -> Relevant:
    """For each chunk, how many of the past chunks outside its native window overlap its view.

    Args:
        viewpoints: Cameras of the rollout.
        table: Sample points and frustums of its chunks.
        outside: For each chunk a range of past chunks; all of them begin alike unless they are empty.
        hit_overlap: Overlap from which a past chunk counts. Range: (0, 1].
    """
    counts = np.zeros(len(outside), dtype=np.int64)
    asked = np.array([c for c, past in enumerate(outside) if past], dtype=np.int64)
    if not len(asked):
        return Relevant(counts, 1)
    starts = np.array([outside[c].start for c in asked])
    stops = np.array([outside[c].stop for c in asked])
    view_of, shown = _distinct_views(viewpoints)
    every = -(-len(shown) // EXACT_VIEWS)
    if every > 1:
        view_of, shown = _first_shown(view_of[np.arange(len(view_of)) // every * every])
    spheres = _Spheres(table, _enough(hit_overlap, table.num_points))
    by_view = np.argsort(view_of[asked], kind="stable")
    edges = np.flatnonzero(np.diff(view_of[asked][by_view], prepend=-1, append=-1))
    members = [by_view[i:j] for i, j in itertools.pairwise(edges)]
    for first in range(0, len(members), BLOCK_COMING):
        block = members[first : first + BLOCK_COMING]
        stop = max(int(stops[rows].max()) for rows in block)
        needed = int(np.searchsorted(shown, stop))  # views that are shown before that chunk
        views = shown[view_of[asked[[rows[0] for rows in block]]]]
        for rows, seen in zip(block, spheres.relevant(views, shown[:needed]), strict=True):
            total = np.concatenate([[0], np.cumsum(seen[view_of[:stop]])])
            counts[asked[rows]] = total[stops[rows]] - total[starts[rows]]
    return Relevant(counts, every)


def _distinct_views(
    viewpoints: Viewpoints,
) -> tuple[Int64[np.ndarray, " chunks"], Int64[np.ndarray, " views"]]:
    """The view of each chunk, and the chunk that shows each view first, ascending."""
    cameras = np.concatenate([viewpoints.c2w[:, :3].reshape(-1, 12), viewpoints.intrinsics], axis=1)
    rounded = np.round(cameras.reshape(viewpoints.num_chunks, -1) * SAME_VIEW) + 0.0
    return _first_shown(np.unique(rounded, axis=0, return_inverse=True)[1].reshape(-1))


def _first_shown(
    views: Int64[np.ndarray, " chunks"],
) -> tuple[Int64[np.ndarray, " chunks"], Int64[np.ndarray, " views"]]:
    """Views numbered in the order in which they are shown first, and the chunk of that."""
    _, first, view = np.unique(views, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[view.reshape(-1)].astype(np.int64), first[order].astype(np.int64)


def _enough(hit_overlap: float, num_points: int) -> int:
    """Fewest points that make up the overlap, by the same division as in `OverlapTable.overlaps`."""
    return int(np.argmax(np.arange(num_points + 1) / num_points >= hit_overlap))


class _Spheres:
    """Spheres around sample points, and frustums to test them with.

    Args:
        table: Sample points and frustums.
        enough: Points to be seen for a chunk to count.
    """

    def __init__(self, table: OverlapTable, enough: int) -> None:
        self._table, self._enough = table, enough
        frames, depths, rows, columns = table.points_shape
        layer = frames * rows * columns
        # The nearest layers that are enough when all is seen of them, and too little is left when nothing is.
        layers = next(n for n in range(1, depths + 1) if (depths - n) * layer < enough <= n * layer)
        self._clouds = _bounds(table, lambda points: points[:, :, :layers].reshape(len(points), 1, -1, 3))
        self._frames = frames
        self._points = _bounds(
            table, lambda points: points.transpose(0, 2, 3, 4, 1, 5).reshape(len(points), -1, frames, 3)
        )
        self._planes = table.planes / np.linalg.norm(table.planes[..., :3], axis=-1, keepdims=True)
        extent = np.abs(self._points[..., :3]).max() + np.abs(self._planes[..., 3]).max()
        self._margin = np.float32(ROUNDING * extent)

    def relevant(
        self, chunks: Int64[np.ndarray, " b"], others: Int64[np.ndarray, " n"]
    ) -> Bool[np.ndarray, "b n"]:
        """Which of the others see enough of each chunk's view."""
        clouds = self._clouds[chunks, 0]
        reach = clouds[:, 3] + self._margin
        seen = np.empty((len(chunks), len(others)), dtype=bool)
        unsettled = np.empty_like(seen)
        for start in range(0, len(others), BLOCK_PAST):
            block = slice(start, start + BLOCK_PAST)
            depth = self._depths(others[block], clouds)
            seen[:, block] = (depth >= reach).T
            unsettled[:, block] = (np.abs(depth) < reach).T
        for row, chunk in enumerate(chunks.tolist()):
            rest = np.flatnonzero(unsettled[row])
            for start in range(0, len(rest), BLOCK_UNSETTLED):
                part = rest[start : start + BLOCK_UNSETTLED]
                seen[row, part] = self._closer(chunk, others[part])
        return seen

    def _closer(self, chunk: int, others: Int64[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        """The same for one chunk, with smaller spheres and at last with the points themselves."""
        spheres = self._points[chunk]
        depth, reach = self._depths(others, spheres), spheres[:, 3] + self._margin
        seen = (depth >= reach).sum(axis=1) * self._frames >= self._enough
        possible = (depth > -reach).sum(axis=1) * self._frames >= self._enough
        rest = np.flatnonzero(possible & ~seen)
        if len(rest):
            seen[rest] = self._table.visible(chunk, others[rest]).sum(axis=1) >= self._enough
        return np.asarray(seen)

    def _depths(
        self, others: Int64[np.ndarray, " n"], spheres: Float32[np.ndarray, "spheres 4"]
    ) -> Float32[np.ndarray, "n spheres"]:
        """How deep inside the frustum of a chunk each centre lies, in the frame where it lies deepest.

        Negative outside.
        """
        centres = np.concatenate([spheres[:, :3], np.ones((len(spheres), 1), dtype=np.float32)], axis=1)
        planes = self._planes[:, others]
        shape = (4, len(others), planes.shape[2], len(spheres))
        depth = (planes.reshape(-1, 4) @ centres.T).reshape(shape)
        of_frame = np.minimum(np.minimum(depth[0], depth[1]), np.minimum(depth[2], depth[3]))
        return functools.reduce(np.maximum, of_frame.swapaxes(0, 1))


def _bounds(
    table: OverlapTable,
    grouped: Callable[
        [Float32[np.ndarray, "chunks frames depths rows columns 3"]], Float32[np.ndarray, "c g p 3"]
    ],
) -> Float32[np.ndarray, "chunks groups 4"]:
    """Centre and radius of a sphere around each group of sample points."""
    blocks = []
    for start in range(0, len(table.planes[0]), BLOCK_PAST):
        points = grouped(table.points(start, start + BLOCK_PAST))
        centre = points.mean(axis=2)
        radius = np.linalg.norm(points - centre[:, :, None], axis=-1).max(axis=2)
        blocks.append(np.concatenate([centre, radius[..., None]], axis=-1))
    return np.concatenate(blocks)
