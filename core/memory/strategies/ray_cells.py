"""Cells: rectangles of tokens that are matched and retrieved as one where frames have many tokens."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int16, Int64

from core.memory.viewpoints import Viewpoints

MAX_CELLS = 64
"""Cells of a frame at most; frames with no more tokens than this are matched token by token."""


@dataclass(frozen=True, kw_only=True)
class CellGrid:
    """How the token grid of a frame falls into cells, in (row, column) order.

    Attributes:
        grid: Rows and columns of tokens.
        cell: Rows and columns of tokens of a cell; those at the right and lower edge may be smaller.
        chunk_frames: Latent frames of a chunk.
    """

    grid: tuple[int, int]
    cell: tuple[int, int]
    chunk_frames: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        return math.ceil(self.grid[0] / self.cell[0]), math.ceil(self.grid[1] / self.cell[1])

    @property
    def num_cells(self) -> int:
        """Cells of a frame."""
        return self.shape[0] * self.shape[1]

    @property
    def tokens_per_frame(self) -> int:
        """Tokens of a frame."""
        return self.grid[0] * self.grid[1]

    @cached_property
    def cell_of_token(self) -> Int64[np.ndarray, " tokens"]:
        """Cell of every token of a frame."""
        row, col = np.divmod(np.arange(self.tokens_per_frame), self.grid[1])
        return np.asarray(row // self.cell[0] * self.shape[1] + col // self.cell[1], dtype=np.int64)

    @cached_property
    def sizes(self) -> Int64[np.ndarray, " cells"]:
        """Tokens of every cell."""
        return np.bincount(self.cell_of_token).astype(np.int64)

    def pitch_rad(self, viewpoints: Viewpoints) -> float:
        """Smallest angle between neighbouring whole cells at the principal point, over all frames."""
        width_px, height_px = self.cell_px(viewpoints)
        steps = np.stack([width_px / viewpoints.intrinsics[:, 0], height_px / viewpoints.intrinsics[:, 1]])
        return float(np.arctan(steps).min())

    def cell_px(self, viewpoints: Viewpoints) -> tuple[float, float]:
        """Width and height of a whole cell in pixels."""
        width, height = viewpoints.image_size
        return width / self.grid[1] * self.cell[1], height / self.grid[0] * self.cell[0]

    def directions(
        self, viewpoints: Viewpoints, intrinsics: Float64[np.ndarray, "n 4"]
    ) -> Float64[np.ndarray, "n cells 3"]:
        """Unit directions through the cells' centres, in the camera's axes."""
        (width, height), (rows, cols) = viewpoints.image_size, self.grid
        fx, fy, cx, cy = intrinsics.T[:, :, None, None]
        rays = np.ones((len(intrinsics), *self.shape, 3))
        rays[..., 0] = (_centres(cols, self.cell[1])[None, None, :] * (width / cols) - cx) / fx
        rays[..., 1] = (_centres(rows, self.cell[0])[None, :, None] * (height / rows) - cy) / fy
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        return rays.reshape(len(intrinsics), self.num_cells, 3)


def _centres(tokens: int, cell: int) -> Float64[np.ndarray, " cells"]:
    edges = np.minimum(np.arange(0, tokens + cell, cell), tokens)
    return np.asarray((edges[:-1] + edges[1:]) / 2)


@lru_cache(maxsize=8)
def cell_grid(viewpoints: Viewpoints, max_cells: int = MAX_CELLS) -> CellGrid:
    """The finest cells within the budget, as square in angle as the grid allows.

    The cell with the shortest longer side is taken; among equals the one that cuts fewest tokens off at the
    edges, then the squarest. One token a cell where the budget allows.
    """
    (rows, cols), (width, height) = viewpoints.grid, viewpoints.image_size
    if rows * cols <= max_cells:
        return CellGrid(grid=viewpoints.grid, cell=(1, 1), chunk_frames=viewpoints.chunk_frames)
    high = height / rows / float(np.median(viewpoints.intrinsics[:, 1]))
    wide = width / cols / float(np.median(viewpoints.intrinsics[:, 0]))
    best: tuple[float, int, float, tuple[int, int]] | None = None
    for h, w in itertools.product(range(1, rows + 1), range(1, cols + 1)):
        if math.ceil(rows / h) * math.ceil(cols / w) > max_cells:
            continue
        sides = sorted((h * high, w * wide))
        ragged = -rows % h * cols + -cols % w * rows
        # Rounded: equal sides must not be told apart by noise.
        rank = (round(sides[1], 9), ragged, round(sides[1] / sides[0], 6), (h, w))
        best = rank if best is None else min(best, rank)
    cell = best[3] if best else (rows, cols)
    return CellGrid(grid=viewpoints.grid, cell=cell, chunk_frames=viewpoints.chunk_frames)


@dataclass(frozen=True, eq=False, slots=True)
class CellTokens:
    """Tokens of whole cells of a chunk; of one cell perhaps only the first ones.

    Attributes:
        cells: How frames fall into cells.
        picked: Sorted cells of the chunk: frame of the chunk * cells of a frame + cell.
        cut_cell: The cell that the budget cut, or -1.
        cut_tokens: Tokens that are left of it.
    """

    cells: CellGrid
    picked: Int16[np.ndarray, " picked"]
    cut_cell: int = -1
    cut_tokens: int = 0

    @property
    def count(self) -> int:
        """How many tokens there are."""
        picked = self.picked.astype(np.int64)
        whole = int(self.cells.sizes[picked[picked != self.cut_cell] % self.cells.num_cells].sum())
        return whole + self.cut_tokens

    def unpack(self) -> Int64[np.ndarray, " tokens"]:
        """The sorted token indices."""
        num_cells = self.cells.num_cells
        wanted: Bool[np.ndarray, " cells"] = np.zeros(self.cells.chunk_frames * num_cells, dtype=bool)
        wanted[self.picked] = True
        by_token = wanted.reshape(-1, num_cells)[:, self.cells.cell_of_token]
        if self.cut_cell >= 0:
            frame, cell = divmod(self.cut_cell, num_cells)
            by_token[frame, np.flatnonzero(self.cells.cell_of_token == cell)[self.cut_tokens :]] = False
        return np.flatnonzero(by_token)


@dataclass(frozen=True, eq=False)
class CellRays:
    """Rays of cells in their cameras' axes, once for each set of intrinsics that occurs.

    Attributes:
        kind: Which set of intrinsics each latent frame has.
        directions: Rays through the cells' centres.
        to_cells: For each set, scale and offset that turn x/z and y/z into cell columns and rows.
        cones: Angle around the optical axis that holds all rays, in radians.
    """

    kind: Int64[np.ndarray, " frames"]
    directions: Float32[np.ndarray, "kinds cells 3"]
    to_cells: Float32[np.ndarray, "kinds 4"]
    cones: Float64[np.ndarray, " kinds"]


def cell_rays(viewpoints: Viewpoints, cells: CellGrid) -> CellRays:
    """Rays of a rollout's cells. Their number grows with the changes of zoom, not with the frames."""
    sets, kind = np.unique(viewpoints.intrinsics, axis=0, return_inverse=True)
    directions = cells.directions(viewpoints, sets)
    width_px, height_px = cells.cell_px(viewpoints)
    to_cells = sets[:, [0, 2, 1, 3]] / [width_px, width_px, height_px, height_px]
    return CellRays(
        kind.reshape(-1).astype(np.int64),
        directions.astype(np.float32),
        to_cells.astype(np.float32),
        np.arccos(directions[..., 2].min(axis=1)),
    )
