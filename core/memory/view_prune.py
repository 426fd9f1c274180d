"""Pruning by view: the tokens whose rays add most to those already kept, again and again.

Frames of many tokens fall into cells, which are kept whole. Chunks whose frames lie to each other in the same
way keep the same tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from jaxtyping import Float64, Int64

from core.memory.strategies.ray_cells import CellGrid, cell_grid
from core.memory.viewpoints import Viewpoints

MAX_CELLS = 400
"""Cells of a frame at most; frames with no more tokens than this are pruned token by token. Finer than for
retrieval: what is kept is to lie all over the frame."""

GOLDEN_RATIO = (math.sqrt(5) - 1) / 2
"""Multiples of it modulo 1 fill an interval evenly at any count."""

SAME_PLACE = 9
"""Decimals to which chunks must agree to be pruned alike."""


def farthest_tokens(
    viewpoints: Viewpoints, chunk: int, *, keep: int, pooled: bool, translation_weight: float
) -> Int64[np.ndarray, " kept"]:
    """Token indices of a chunk's later frames, each the farthest from all that are kept before it.

    Args:
        viewpoints: Cameras.
        chunk: The chunk; its first frame is kept whole.
        keep: Tokens kept of each later frame, or of all of them on average if pooled.
        pooled: One budget over the later frames instead of one for each.
        translation_weight: Radians that one trajectory unit between camera centres counts for.
    """
    frames = viewpoints.frames_of(chunk)
    cells = cell_grid(viewpoints, MAX_CELLS)
    c2w = viewpoints.c2w[frames.start : frames.stop]
    if cells.cell != (1, 1):
        # In the axes of the first camera, so that chunks can be compared.
        c2w = np.round(np.linalg.inv(c2w[0]) @ c2w, SAME_PLACE) + 0.0
    rays = cells.directions(viewpoints, viewpoints.intrinsics[frames.start : frames.stop])
    rays = np.matmul(rays, c2w[:, :3, :3].swapaxes(1, 2))
    positions = translation_weight * c2w[:, :3, 3]
    return _chosen(_Geometry(rays, positions), cells, keep, pooled)


class _Geometry:
    """Rays and camera centres (in radians) of a chunk's frames; equal ones are one key of a cache."""

    def __init__(
        self, rays: Float64[np.ndarray, "frames cells 3"], positions: Float64[np.ndarray, "frames 3"]
    ) -> None:
        self.rays, self.positions = rays, positions
        self._key = (rays.tobytes(), positions.tobytes())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Geometry) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


@lru_cache(maxsize=64)
def _chosen(geometry: _Geometry, cells: CellGrid, keep: int, pooled: bool) -> Int64[np.ndarray, " kept"]:
    """Tokens of the chosen cells; of the last of a budget perhaps only the first ones."""
    tokens_of = np.split(np.argsort(cells.cell_of_token, kind="stable"), np.cumsum(cells.sizes)[:-1])
    chosen = [
        tokens_of[cell][:count] + frame * cells.tokens_per_frame
        for frame, cell, count in _greedy(geometry, cells.sizes, keep, pooled)
    ]
    kept: Int64[np.ndarray, " kept"] = np.concatenate(chosen)
    kept.setflags(write=False)  # shared by all that ask again
    return kept


def _greedy(
    geometry: _Geometry, sizes: Int64[np.ndarray, " cells"], keep: int, pooled: bool
) -> Iterator[tuple[int, int, int]]:
    """Frame, cell and number of tokens, the farthest first."""
    rays, positions = geometry.rays, geometry.positions
    frames, count = rays.shape[:2]
    gaps = np.linalg.norm(positions[:, None] - positions, axis=-1)
    # Where many are equally far (a camera that holds still), an evenly spread order decides.
    spread = np.argsort(np.arange((frames - 1) * count) * GOLDEN_RATIO % 1.0, kind="stable") + count
    frame_of, cell_of = np.divmod(spread, count)
    flat = rays.reshape(-1, 3)[spread]
    away = np.arccos(np.clip((flat @ rays[0].T).max(axis=1), -1.0, 1.0)) + gaps[frame_of, 0]
    open_ = np.ones(len(flat), dtype=bool)
    # One budget a frame, or one for all of them.
    budget_of = np.zeros(frames, dtype=np.int64) if pooled else np.arange(frames)
    left = np.full(frames, (frames - 1) * keep if pooled else keep)
    while open_.any():
        # Rounded: noise must not tell equally far cells apart.
        best = int(np.argmax(np.where(open_, np.round(away, 6), -1.0)))
        frame, cell = int(frame_of[best]), int(cell_of[best])
        taken = int(min(sizes[cell], left[budget_of[frame]]))
        yield frame, cell, taken
        left[budget_of[frame]] -= taken
        open_[best] = False
        open_ &= left[budget_of[frame_of]] > 0
        nearer = np.arccos(np.clip(flat @ flat[best], -1.0, 1.0)) + gaps[frame_of, frame]
        np.minimum(away, nearer, out=away)
