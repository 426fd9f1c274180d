"""`rays` by the cell: the search, for a few coming chunks at a time.

Every query ray takes its nearest cell of each past frame: first that of the frame where it is nearest of all,
then of the second, until the token budget is full. Neighbouring rays take the neighbouring cells.

shapes: b coming chunks, q query rays of each, p and s past frames for each chunk, cells of these s frames
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, Int64

from core.memory.selection import Selection
from core.memory.strategies.ray_cells import CellTokens
from core.memory.strategies.ray_index import GROUP_FRAMES, FrameIndex
from core.memory.strategies.ray_pairs import USELESS, RayMetric, RayPairs
from core.memory.strategies.ray_take import TakenCells, first_few, first_of_each, take_cells

BLOCK_CHUNKS = 16
"""Coming chunks searched at once."""

FRAMES_PER_BUDGET_FRAME = 2
"""Past frames whose cells are compared, for each frame's worth of tokens in the budget: the nearest to a few
probe rays."""

LEAST_FRAMES = 12
"""Past frames whose cells are compared at least."""

PROBED_PER_FRAME = 6
"""Frames compared with the probe rays for each of these, in whole groups: those of least rank."""


@dataclass(frozen=True, eq=False)
class CellSearch:
    """The search for one rollout.

    Attributes:
        metric: What distance means.
        index: Candidate frames, in the order in which they appear.
        newer_first: Whether later frames win ties.
        copies: Cells that a query takes at most; None until the budget is full.
        chunk_copies: Cells of one past chunk that a query takes at most; None for no limit.
    """

    metric: RayMetric
    index: FrameIndex
    newer_first: bool
    copies: int | None
    chunk_copies: int | None

    def select(
        self, chunks: Sequence[int], num_candidates: Sequence[int], budget_tokens: int
    ) -> Iterator[list[Selection]]:
        """What each coming chunk takes from the first so many candidate frames."""
        views, cells = self.metric.viewpoints, self.metric.cells
        budget_frames = -(-budget_tokens // views.tokens_per_frame)
        compared = max(LEAST_FRAMES, FRAMES_PER_BUDGET_FRAME * budget_frames)
        reach = math.inf if self.metric.max_distance is None else self.metric.max_distance
        if self.copies is not None:
            reach = -1.0  # no neighbours to fill the budget
        for start in range(0, len(chunks), BLOCK_CHUNKS):
            block = np.asarray(chunks[start : start + BLOCK_CHUNKS], dtype=np.int64)
            limits = np.asarray(num_candidates[start : start + BLOCK_CHUNKS], dtype=np.int64)
            coming = block[:, None] * views.chunk_frames + np.arange(views.chunk_frames)
            rays = self.metric.world_rays(coming)
            near = self._near(coming, limits, -(-PROBED_PER_FRAME * compared // GROUP_FRAMES))
            frames = self._nearest(coming, rays, near, compared)
            pairs = RayPairs(self.metric, coming, rays.reshape(len(frames), -1, 3), frames)
            taken = take_cells(
                self._limited(pairs.cell_keys(), frames),
                np.tile(cells.sizes, frames.shape[1]),
                budget_tokens,
                grid=cells.shape,
                step=self.metric.pitch_levels,
                last_level=reach / self.metric.level_rad,
            )
            yield from self._group(taken, frames)

    def _near(
        self, coming: Int64[np.ndarray, "b m"], limits: Int64[np.ndarray, " b"], wanted: int
    ) -> Int64[np.ndarray, "b p"]:
        """Frames of the groups of least rank, those that win ties first; -1 for none."""
        index, views = self.index, self.metric.viewpoints
        groups = int(np.searchsorted(index.starts, limits.max()))
        ranks = index.group_ranks(
            views.positions[coming],
            views.forwards[coming],
            groups,
            weight=self.metric.weight + self.metric.inverse_depth / 2,
        )
        levels = (ranks * np.float32(1 / self.metric.level_rad)).astype(np.int64)
        number = np.arange(groups)
        keys = levels * groups + (number[::-1] if self.newer_first else number)
        keys[index.starts[:groups] >= limits[:, None]] = np.iinfo(np.int64).max
        count = min(wanted, groups)
        best = np.argpartition(keys, count - 1, axis=1)[:, :count]
        places = (best[..., None] * GROUP_FRAMES + np.arange(GROUP_FRAMES)).reshape(len(best), -1)
        exists = places < len(index.frames)
        places = np.minimum(places, len(index.frames) - 1)
        frames = np.where(exists & (index.born[places] < limits[:, None]), index.frames[places], -1)
        frames.sort(axis=1)
        return frames[:, ::-1] if self.newer_first else frames

    def _nearest(
        self,
        coming: Int64[np.ndarray, "b m"],
        rays: Float32[np.ndarray, "b m cells 3"],
        frames: Int64[np.ndarray, "b p"],
        wanted: int,
    ) -> Int64[np.ndarray, "b s"]:
        """The frames nearest to a few probe rays: the nearest of each ray, then the second nearest, ..."""
        count, (rows, cols) = min(wanted, frames.shape[1]), self.metric.cells.shape
        probes = [0, cols - 1, rows // 2 * cols + cols // 2, (rows - 1) * cols, rows * cols - 1]
        pairs = RayPairs(self.metric, coming, rays[:, :, probes].reshape(len(frames), -1, 3), frames)
        keys = np.sort(pairs.frame_keys(), axis=-1)[..., :count].swapaxes(1, 2).reshape(len(frames), -1)
        first = first_of_each(
            np.where(keys == USELESS, frames.shape[1], keys % frames.shape[1]), frames.shape[1]
        )
        found = np.sort(np.argpartition(first, count - 1, axis=1)[:, :count], axis=1)
        unwanted = np.take_along_axis(first, found, axis=1) == keys.shape[1]
        return np.where(unwanted, -1, np.take_along_axis(frames, found, axis=1))

    def _limited(
        self, keys: Int32[np.ndarray, "b q s"], frames: Int64[np.ndarray, "b s"]
    ) -> Int32[np.ndarray, "b q allowed"]:
        """Keys of the cells that each query may take."""
        if self.copies is None and self.chunk_copies is None:
            return keys
        keys = np.sort(keys, axis=2)
        if self.chunk_copies is not None:
            cells = self.metric.cells
            slots = keys % (keys.shape[2] * cells.num_cells) // cells.num_cells
            chunks = frames[np.arange(len(keys))[:, None, None], slots] // cells.chunk_frames
            few = first_few(chunks.reshape(-1, keys.shape[2]), self.chunk_copies)
            keys[~few.reshape(keys.shape)] = USELESS
            keys.sort(axis=2)
        return keys[..., : self.copies]

    def _group(self, taken: TakenCells, frames: Int64[np.ndarray, "b s"]) -> Iterator[list[Selection]]:
        """One selection a past chunk, in the order in which the past chunks were first taken from."""
        cells, chunk_frames = self.metric.cells, self.metric.cells.chunk_frames
        num_chunks = self.metric.viewpoints.num_chunks
        slot, cell = np.divmod(taken.cell, cells.num_cells)
        label = (taken.chunk * num_chunks * chunk_frames + frames[taken.chunk, slot]) * cells.num_cells + cell
        order = np.argsort(label)
        owner, within = np.divmod(label[order], chunk_frames * cells.num_cells)
        starts = np.flatnonzero(np.diff(owner, prepend=-1))
        found: list[list[tuple[int, Selection]]] = [[] for _ in frames]
        if len(starts):
            tokens = taken.tokens[order]
            scores = np.add.reduceat(taken.level[order] * tokens, starts) * self.metric.level_rad
            scores /= np.add.reduceat(tokens, starts)
            cut = np.where(tokens < taken.whole[order], np.arange(len(order)), -1)
            coming, past = np.divmod(owner[starts], num_chunks)
            columns = (
                coming,
                past,
                scores,
                np.minimum.reduceat(order, starts),
                np.maximum.reduceat(cut, starts),
            )
            picked = np.split(within.astype(np.int16), starts[1:])
            for row in zip(picked, *(column.tolist() for column in columns), strict=True):
                part, b, chunk, score, first, at = row
                packed = (
                    CellTokens(cells, part)
                    if at < 0
                    else CellTokens(cells, part, int(within[at]), int(tokens[at]))
                )
                found[b].append((first, Selection(chunk, packed, score)))
        for selections in found:
            yield [s for _, s in sorted(selections, key=lambda pair: pair[0])]
