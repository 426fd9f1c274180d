"""Tokens whose viewing rays come nearest to those of the coming chunk."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Int64

from core.errors import InputError
from core.memory.selection import Selection
from core.memory.strategies.ray_cells import CellGrid, cell_grid, cell_rays
from core.memory.strategies.ray_depths import nearest_depth
from core.memory.strategies.ray_index import frame_index
from core.memory.strategies.ray_pairs import RayMetric
from core.memory.strategies.ray_search import CellSearch
from core.memory.strategies.ray_tokens import TokenRule, TokenSearch
from core.memory.viewpoints import Viewpoints


@dataclass(frozen=True)
class Rays:
    """The nearest token of every query, then the second nearest, until the budget is full.

    A query is a token of the coming chunk, with the camera and the intrinsics of its frame. How deep the
    surface lies that it shows is not known: from `near_depth` on, anywhere. Seen from a stored token's camera
    that is an arc. The distance of two tokens is the angle between the stored ray and the middle of the arc,
    plus half of the arc's angle, plus `translation_weight` times the distance between the camera centres.
    Where both cameras stand at one place it is the angle between the rays. It is rounded to levels of
    `tolerance` token pitches; on a level the older token wins (less copying of copies). Within a round (the
    r-th nearest of all queries) nearer tokens go first.

    Up to 64 tokens a frame this is exact but for float32 rounding at the border of two levels or of
    `max_distance`. Larger frames fall into at most 64 cells that take the place of tokens: their centres are
    compared, their pitch makes the levels, they are taken whole but for the last. To be fast, a query then
    takes of each frame only the cell in which the middle of its arc lands (neighbouring queries take the
    neighbours, which also fill what is left of a budget); of frames less than a level apart only as many as
    fill the budget are kept, the oldest; and twice the budget's worth of frames is compared in full. On
    walks, laps and patrols the nearest cell of a query was never more than a level further than in an
    exhaustive search.

    No array grows with the square of the rollout.

    Attributes:
        near_depth: Nearest depth of what is seen, in trajectory units. Infinity compares directions alone.
            In rooms of known depth 2 to 4 without weight finds most true matches (see the benchmark
            `true_matches`), but what the embedded model plays gets no better for it on the whole: hence the
            default. None derives it from the path, for trajectories in unknown units: twice as far as the
            camera moves about.
        translation_weight: Radians that one trajectory unit between camera centres counts for, beside what it
            may shift: a picture from further away is another picture.
        tolerance: Width of a level, as a share of the angle between neighbouring tokens. Range: (0, 1].
        max_distance: Tokens further than this from every query are useless and not taken, in radians; None
            takes whatever is nearest.
        copies: Tokens that a query takes at most, its nearest; what is then left of the budget stays empty.
            None goes on until the budget is full.
        chunk_copies: Of one past chunk a query takes at most so many: other copies come from other visits.
            None for no limit.
        order: Which token wins on equal levels; `newer` is for comparison.
    """

    name: ClassVar[str] = "rays"
    whole_chunks: ClassVar[bool] = False

    near_depth: float | None = math.inf
    translation_weight: float = 1.0
    tolerance: float = 0.25
    max_distance: float | None = None
    copies: int | None = None
    chunk_copies: int | None = None
    order: Literal["older", "newer"] = "older"

    def __post_init__(self) -> None:
        if not self.translation_weight >= 0 or math.isinf(self.translation_weight):
            raise InputError(
                f"translation_weight must not be negative, got {self.translation_weight:g}",
                where="rays.translation_weight",
            )
        if self.near_depth is not None and not self.near_depth > 0:
            raise InputError(
                f"near_depth must be positive, got {self.near_depth:g}",
                where="rays.near_depth",
                hint="leave it out to derive it from the path; inf compares directions alone",
            )
        if not 0 < self.tolerance <= 1:
            raise InputError(f"tolerance must lie in (0, 1], got {self.tolerance:g}", where="rays.tolerance")
        if self.max_distance is not None and not self.max_distance > 0:
            raise InputError(
                f"max_distance must be positive, got {self.max_distance:g}",
                where="rays.max_distance",
                hint="leave it out to take whatever is nearest",
            )
        for name in ("copies", "chunk_copies"):
            most = getattr(self, name)
            if most is not None and most < 1:
                raise InputError(
                    f"{name} must be positive, got {most}",
                    where=f"rays.{name}",
                    hint="leave it out for no limit",
                )
        if self.order not in ("older", "newer"):
            raise InputError(f"unknown order {self.order!r}", where="rays.order", hint="older or newer")

    @property
    def max_chunks(self) -> int | None:
        """None: the budget counts tokens."""
        return None

    def select(
        self, viewpoints: Viewpoints, chunk: int, candidates: Sequence[int], budget_tokens: int
    ) -> list[Selection]:
        """Take tokens; the score of a chunk is the mean distance of those taken from it, in radians."""
        chunks = np.asarray(candidates, dtype=np.int64)
        if not len(chunks) or budget_tokens < 1:
            return []
        cells = cell_grid(viewpoints)
        if cells.cell != (1, 1):
            search = self._cell_search(viewpoints, cells, chunks, budget_tokens)
            return next(search.select([chunk], [len(chunks) * viewpoints.chunk_frames], budget_tokens))
        rule = TokenRule(
            inverse_depth=self._inverse_depth(viewpoints),
            weight=self.translation_weight,
            tolerance=self.tolerance,
            max_distance=self.max_distance,
            newer_first=self.order == "newer",
            copies=self.copies,
            chunk_copies=self.chunk_copies,
        )
        frames = _frames_of(chunks, viewpoints.chunk_frames)
        return TokenSearch(rule, viewpoints, chunk, frames).select(budget_tokens)

    def select_all(
        self, viewpoints: Viewpoints, asked: Sequence[tuple[int, range]], budget_tokens: int
    ) -> Iterator[list[Selection]]:
        """`select` for many coming chunks with their candidates: faster where frames have many tokens."""
        cells = cell_grid(viewpoints)
        widest = max((candidates for _, candidates in asked), key=len, default=range(0))
        prefixes = all(c == widest[: len(c)] for _, c in asked)
        if cells.cell == (1, 1) or not prefixes or not widest or budget_tokens < 1:
            for chunk, candidates in asked:
                yield self.select(viewpoints, chunk, candidates, budget_tokens)
            return
        search = self._cell_search(viewpoints, cells, np.asarray(widest, dtype=np.int64), budget_tokens)
        chunks = [chunk for chunk, candidates in asked if candidates]
        limits = [len(candidates) * viewpoints.chunk_frames for _, candidates in asked if candidates]
        found = search.select(chunks, limits, budget_tokens)
        for _, candidates in asked:
            yield next(found) if candidates else []

    def _inverse_depth(self, viewpoints: Viewpoints) -> float:
        return 1 / (nearest_depth(viewpoints) if self.near_depth is None else self.near_depth)

    def _cell_search(
        self,
        viewpoints: Viewpoints,
        cells: CellGrid,
        chunks: Int64[np.ndarray, " chunks"],
        budget_tokens: int,
    ) -> CellSearch:
        rays = cell_rays(viewpoints, cells)
        metric = RayMetric(
            viewpoints=viewpoints,
            cells=cells,
            rays=rays,
            rotations=np.ascontiguousarray(np.moveaxis(viewpoints.c2w[:, :3, :3], 2, 0), dtype=np.float32),
            inverse_depth=self._inverse_depth(viewpoints),
            weight=self.translation_weight,
            level_rad=self.tolerance * cells.pitch_rad(viewpoints),
            pitch_levels=round(1 / self.tolerance),
            max_distance=self.max_distance,
        )
        index = frame_index(
            viewpoints,
            _frames_of(chunks, viewpoints.chunk_frames),
            cones=rays.cones[rays.kind],
            copies=-(-budget_tokens // viewpoints.tokens_per_frame) if self.order == "older" else None,
            slack_rad=metric.level_rad,
            weight=self.translation_weight + metric.inverse_depth,
        )
        return CellSearch(metric, index, self.order == "newer", self.copies, self.chunk_copies)


def _frames_of(chunks: Int64[np.ndarray, " chunks"], chunk_frames: int) -> Int64[np.ndarray, " frames"]:
    return np.asarray(chunks[:, None] * chunk_frames + np.arange(chunk_frames)).reshape(-1)
