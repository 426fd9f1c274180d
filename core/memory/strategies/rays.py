"""Tokens whose viewing rays come nearest to those of the coming chunk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float32, Float64, Int64

from core.errors import InputError
from core.memory.selection import Selection
from core.memory.viewpoints import Viewpoints

FIRST_RANKS = 8
"""Nearest tokens looked up per query at first; doubled until the budget is full."""

SPARE_FRAMES = 3
"""Frames beyond those needed, so that float32 rounding in the search does not change the result."""

BLOCK_PAIRS = 1 << 20
"""Pairs of query and stored token compared at once: bounds the working memory."""

USELESS = np.iinfo(np.int64).max
"""Key of a token that is too far away."""

LEVEL_OFFSET = 0.49
"""Rounds distances to levels. Not 0.5: regular grids and angles would often lie exactly on the border of two
levels, where rounding noise decides."""


@dataclass(frozen=True)
class Rays:
    """The nearest token of every query, then the second nearest, until the budget is full.

    A query is a token of the coming chunk. The distance of two tokens is the angle between their rays (each
    through its patch centre) plus `translation_weight` times the distance between the camera centres. It is
    rounded to levels of `tolerance` token pitches; on a level the older token wins (less copying of copies).
    Within a round (the r-th nearest of all queries) nearer tokens go first.

    Exact up to float32 rounding at the border of two levels. No array grows with the square of the rollout.

    Attributes:
        translation_weight: Radians that one trajectory unit between camera centres counts for.
        tolerance: Width of a level, as a share of the angle between neighbouring tokens. Range: (0, 1].
        max_distance: Tokens further than this from every query are useless and not taken, in radians; None
            takes whatever is nearest.
        order: Which token wins on equal levels; `newer` is for comparison.
    """

    name: ClassVar[str] = "rays"
    whole_chunks: ClassVar[bool] = False

    translation_weight: float = 1.0
    tolerance: float = 0.25
    max_distance: float | None = None
    order: Literal["older", "newer"] = "older"

    def __post_init__(self) -> None:
        if not self.translation_weight >= 0 or math.isinf(self.translation_weight):
            raise InputError(
                f"translation_weight must not be negative, got {self.translation_weight:g}",
                where="rays.translation_weight",
            )
        if not 0 < self.tolerance <= 1:
            raise InputError(f"tolerance must lie in (0, 1], got {self.tolerance:g}", where="rays.tolerance")
        if self.max_distance is not None and not self.max_distance > 0:
            raise InputError(
                f"max_distance must be positive, got {self.max_distance:g}",
                where="rays.max_distance",
                hint="leave it out to take whatever is nearest",
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
        frames = _frames_of(chunks, viewpoints.chunk_frames)
        search = _Search(self, viewpoints, chunk, frames)
        ranks = FIRST_RANKS
        while True:
            keys = search.nearest(ranks)
            levels, tokens = search.decode(_take(keys, budget_tokens, search.num_tokens))
            if len(tokens) == budget_tokens or keys.shape[1] < ranks or keys[:, -1].min() == USELESS:
                return _group(levels, tokens, viewpoints.tokens_per_chunk)
            ranks *= 2


class _Search:
    """Distances from the tokens of one coming chunk to those of its candidate frames.

    Tokens are ordered by a key: level * num_tokens + place in the order of age. The n nearest tokens of a
    query lie in the n frames whose own nearest tokens come first, so only these are compared in full.
    """

    def __init__(
        self, rays: Rays, viewpoints: Viewpoints, chunk: int, frames: Int64[np.ndarray, " frames"]
    ) -> None:
        self._rays = rays
        self._table = _ray_table(viewpoints)
        self._tokens = viewpoints.tokens_per_frame
        self._queries = np.repeat(viewpoints.frames_of(chunk), self._tokens)
        query_frames = np.asarray(viewpoints.frames_of(chunk), dtype=np.int64)
        self._directions = self._table.directions[query_frames].reshape(-1, 3)
        self._level = rays.tolerance * viewpoints.token_pitch_rad
        # From here on, frames in the order in which they win ties.
        self._frames = frames if rays.order == "older" else frames[::-1]
        self._gaps = rays.translation_weight * self._table.gaps(query_frames, self._frames)
        self._bounds = self._gaps + self._table.angle_bounds(query_frames, self._frames)
        if rays.max_distance is not None:
            near = self._bounds.min(axis=0) <= rays.max_distance
            self._frames, self._gaps, self._bounds = (
                self._frames[near],
                self._gaps[:, near],
                self._bounds[:, near],
            )
        self._frame_keys: Int64[np.ndarray, "queries searched"] | None = None
        self._searched = 0

    @property
    def num_tokens(self) -> int:
        """Tokens of all candidate frames."""
        return len(self._frames) * self._tokens

    def nearest(self, ranks: int) -> Int64[np.ndarray, "queries ranks"]:
        """Keys of the nearest tokens of every query, ascending; fewer than asked if there are no more."""
        ranks = min(ranks, self.num_tokens)
        count = min(ranks + SPARE_FRAMES, len(self._frames))
        if not count:
            return np.empty((len(self._queries), 0), dtype=np.int64)
        frames = self._nearest_frames(count)
        keys = np.sort(self._token_keys(frames), axis=1)
        return keys[:, :ranks]

    def decode(
        self, keys: Int64[np.ndarray, " taken"]
    ) -> tuple[Float64[np.ndarray, " taken"], Int64[np.ndarray, " taken"]]:
        """Distances, rounded to levels, and tokens (frame * tokens_per_frame + token) of keys."""
        level, place = np.divmod(keys, max(self.num_tokens, 1))
        frame, token = np.divmod(place, self._tokens)
        return level * self._level, self._frames[frame] * self._tokens + token

    def _nearest_frames(self, count: int) -> Int64[np.ndarray, "queries count"]:
        """For every query the frames whose nearest tokens come first, as places in the tie order."""
        return np.asarray(0)
