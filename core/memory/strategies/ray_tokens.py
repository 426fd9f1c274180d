"""`rays` by the token: exact, for frames of few tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64

from core.memory.selection import Selection
from core.memory.strategies.ray_depths import towards
from core.memory.strategies.ray_take import first_few
from core.memory.viewpoints import Viewpoints

FIRST_RANKS = 8
"""Nearest tokens looked up per query at first; doubled until the budget is full."""

SPARE_FRAMES = 3
"""Frames beyond those needed, so that float32 rounding in the search does not change the result."""

BLOCK_PAIRS = 1 << 17
"""Pairs of query and stored token compared at once: bounds the working memory."""

USELESS = np.iinfo(np.int64).max
"""Key of a token that is too far away."""

FAR_LEVEL = 1 << 32
"""Level of a frame without any token near enough."""

LEVEL_OFFSET = 0.49
"""Rounds distances to levels. Not 0.5: regular grids and angles would often lie exactly on the border of two
levels, where rounding noise decides."""


@dataclass(frozen=True, kw_only=True)
class TokenRule:
    """What is near: the settings of `Rays`, with the inverse of the nearest depth (0 for infinity)."""

    inverse_depth: float
    weight: float
    tolerance: float
    max_distance: float | None
    newer_first: bool
    copies: int | None
    chunk_copies: int | None


class TokenSearch:
    """Distances from the tokens of one coming chunk to those of its candidate frames.

    Keys sort by level, then by age: level * count + place in the order of age. The n nearest tokens of a
    query lie in the n frames whose own nearest tokens come first, so only these frames are compared in full;
    and frames that even by their viewing cones are too far are not looked at.
    """

    def __init__(
        self, rule: TokenRule, viewpoints: Viewpoints, chunk: int, frames: Int64[np.ndarray, " frames"]
    ) -> None:
        coming = np.asarray(viewpoints.frames_of(chunk), dtype=np.int64)
        self._rule = rule
        self._tokens_per_chunk = viewpoints.tokens_per_chunk
        self._chunk_frames = viewpoints.chunk_frames
        self._table = _ray_table(viewpoints)
        self._tokens = viewpoints.tokens_per_frame
        self._level_rad = rule.tolerance * viewpoints.token_pitch_rad
        self._directions = self._table.directions[coming].reshape(-1, 3)
        self._centres = np.repeat(self._table.positions[coming], self._tokens, axis=0)
        # From here on, frames in the order in which they win ties.
        self._frames = frames[::-1] if rule.newer_first else frames
        gaps = rule.weight * self._table.gaps(coming, self._frames)
        bounds = (gaps + self._table.angle_bounds(coming, self._frames)).min(axis=1)
        if rule.max_distance is not None:
            near = bounds <= rule.max_distance
            self._frames, gaps, bounds = self._frames[near], gaps[near], bounds[near]
        self._gaps = np.repeat(gaps, self._tokens, axis=1)
        self._bound_levels = self._levels(bounds)
        self._searched = np.zeros(len(self._frames), dtype=bool)
        self._frame_keys = np.empty((len(self._directions), 0), dtype=np.int64)

    @property
    def num_tokens(self) -> int:
        """Tokens of all candidate frames."""
        return len(self._frames) * self._tokens

    def select(self, budget_tokens: int) -> list[Selection]:
        """Take the nearest token of every query, then the second nearest, until the budget is full."""
        ranks = self._rule.copies or FIRST_RANKS
        while True:
            keys = self.nearest(ranks)
            taken = _take(keys, budget_tokens, self.num_tokens)
            if (
                self._rule.copies
                or len(taken) == budget_tokens
                or keys.shape[1] < ranks
                or keys[:, -1].min() == USELESS
            ):
                return _group(*self.decode(taken), self._tokens_per_chunk)
            ranks *= 2

    def nearest(self, ranks: int) -> Int64[np.ndarray, "queries ranks"]:
        """Keys of the nearest tokens of every query, ascending; fewer than asked if there are no more."""
        # The best frames of so many chunks lie among the frames, whichever frames of a chunk are best.
        frames_each = self._chunk_frames if self._rule.chunk_copies else 1
        count = min(ranks * frames_each + SPARE_FRAMES, len(self._frames))
        if not count:
            return np.empty((len(self._directions), 0), dtype=np.int64)
        frames = self._nearest_frames(count)
        block = max(1, BLOCK_PAIRS // (self._tokens * count))
        blocks = [
            self._sorted(self._token_keys(start, frames[start : start + block]))[:, :ranks]
            for start in range(0, len(frames), block)
        ]
        return np.concatenate(blocks)

    def decode(
        self, keys: Int64[np.ndarray, " taken"]
    ) -> tuple[Float64[np.ndarray, " taken"], Int64[np.ndarray, " taken"]]:
        """Distances, rounded to levels, and tokens (frame * tokens_per_frame + token) of keys."""
        level, place = np.divmod(keys, max(self.num_tokens, 1))
        frame, token = np.divmod(place, self._tokens)
        return level * self._level_rad, self._frames[frame] * self._tokens + token

    def _sorted(self, keys: Int64[np.ndarray, "queries pairs"]) -> Int64[np.ndarray, "queries pairs"]:
        """Keys ascending; of one chunk no more than the rule allows."""
        keys = np.sort(keys, axis=1)
        if self._rule.chunk_copies is None:
            return keys
        chunks = self._frames[keys % self.num_tokens // self._tokens] // self._chunk_frames
        keys[~first_few(chunks, self._rule.chunk_copies)] = USELESS
        return np.sort(keys, axis=1)

    def _nearest_frames(self, count: int) -> Int64[np.ndarray, "queries count"]:
        """For every query the frames whose nearest tokens come first, as places in the order of age."""
        if not self._searched.any():
            self._search(self._bound_levels <= round(1 / self._rule.tolerance))
        keys = self._frame_keys
        enough = keys.shape[1] >= count
        worst = int(np.partition(keys, count - 1, axis=1)[:, count - 1].max()) if enough else USELESS
        self._search(~self._searched & (self._bound_levels <= worst // len(self._frames)))
        nearest = np.partition(self._frame_keys, count - 1, axis=1)[:, :count]
        return np.asarray(nearest % len(self._frames))

    def _search(self, wanted: Bool[np.ndarray, " frames"]) -> None:
        """Find the nearest token of each query in more frames."""
        places = np.flatnonzero(wanted)
        if not len(places):
            return
        count = len(self._directions)
        block = max(1, BLOCK_PAIRS // (self._tokens * count))
        distances = np.empty((len(places), count))
        for start in range(0, len(places), block):
            part = places[start : start + block]
            aims, half = self._aims(part[:, None], slice(None))
            aims = np.ascontiguousarray(aims.swapaxes(1, 2), dtype=np.float32)
            cosines = np.matmul(self._table.coarse[self._frames[part]], aims).max(axis=1)
            distances[start : start + block] = np.arccos(np.clip(cosines, -1.0, 1.0)) + half
        distances += self._gaps[places]
        levels = self._levels(distances)
        if self._rule.max_distance is not None:
            levels[distances > self._rule.max_distance] = FAR_LEVEL  # none of its tokens is of use
        keys = levels * len(self._frames) + places[:, None]
        self._frame_keys = np.concatenate([self._frame_keys, keys.T], axis=1)
        self._searched |= wanted

    def _token_keys(
        self, start: int, frames: Int64[np.ndarray, "queries count"]
    ) -> Int64[np.ndarray, "queries pairs"]:
        """Keys of all tokens of a few frames for each query from `start` on."""
        queries = slice(start, start + len(frames))
        stored = self._table.directions[self._frames[frames]]
        aims, half = self._aims(frames.T, queries)
        cosines = np.einsum("qftc,fqc->qft", stored, aims)
        gaps = np.take_along_axis(self._gaps[:, queries], frames.T, axis=0) + half
        distances = np.arccos(np.clip(cosines, -1.0, 1.0)) + gaps.T[..., None]
        places = frames[..., None] * self._tokens + np.arange(self._tokens)
        keys = self._levels(distances) * self.num_tokens + places
        if self._rule.max_distance is not None:
            keys[distances > self._rule.max_distance] = USELESS
        return keys.reshape(len(keys), -1)

    def _aims(
        self, places: Int64[np.ndarray, "frames #queries"], queries: slice
    ) -> tuple[Float64[np.ndarray, "frames queries 3"], Float64[np.ndarray, "frames queries"]]:
        """Where some queries look, seen from a few frames each, and how far off that may be."""
        offsets = self._centres[queries] - self._table.positions[self._frames[places]]
        return towards(self._directions[queries], offsets * self._rule.inverse_depth)

    def _levels(self, distances: Float[np.ndarray, ...]) -> Int64[np.ndarray, ...]:
        return np.asarray(np.floor(distances / self._level_rad + LEVEL_OFFSET), dtype=np.int64)


def _take(
    keys: Int64[np.ndarray, "queries ranks"], budget_tokens: int, num_tokens: int
) -> Int64[np.ndarray, " taken"]:
    """Keys of the distinct tokens taken: rank by rank, each rank by key, until the budget is full."""
    by_rank = np.sort(keys.T, axis=1).reshape(-1)
    by_rank = by_rank[by_rank != USELESS]
    if not len(by_rank):
        return np.empty(0, dtype=np.int64)
    _, first = np.unique(by_rank % num_tokens, return_index=True)
    return np.asarray(by_rank[np.sort(first)[:budget_tokens]])


def _group(
    distances: Float64[np.ndarray, " taken"], tokens: Int64[np.ndarray, " taken"], tokens_per_chunk: int
) -> list[Selection]:
    """One selection a chunk, in the order in which the chunks were first taken from."""
    chunks, within = np.divmod(tokens, tokens_per_chunk)
    found, first = np.unique(chunks, return_index=True)
    return [
        Selection(int(c), np.sort(within[chunks == c]), float(distances[chunks == c].mean()))
        for c in found[np.argsort(first)]
    ]


@dataclass(frozen=True, eq=False)
class _RayTable:
    """Rays of all frames of a rollout.

    `cones` is the angle around the optical axis that holds all rays of a frame.
    """

    directions: Float64[np.ndarray, "frames tokens 3"]
    coarse: Float32[np.ndarray, "frames tokens 3"]
    positions: Float64[np.ndarray, "frames 3"]
    axes: Float64[np.ndarray, "frames 3"]
    cones: Float64[np.ndarray, " frames"]

    def gaps(
        self, coming: Int64[np.ndarray, " m"], frames: Int64[np.ndarray, " n"]
    ) -> Float64[np.ndarray, "n m"]:
        """Distances between camera centres, in trajectory units."""
        return np.asarray(np.linalg.norm(self.positions[frames][:, None] - self.positions[coming], axis=-1))

    def angle_bounds(
        self, coming: Int64[np.ndarray, " m"], frames: Int64[np.ndarray, " n"]
    ) -> Float64[np.ndarray, "n m"]:
        """Angles that no two rays of the frames can undercut, in radians."""
        between = np.arccos(np.clip(self.axes[frames] @ self.axes[coming].T, -1.0, 1.0))
        return np.asarray(np.maximum(0.0, between - self.cones[frames][:, None] - self.cones[coming]))


@lru_cache(maxsize=2)
def _ray_table(viewpoints: Viewpoints) -> _RayTable:
    positions, directions = viewpoints.rays(range(viewpoints.num_frames))
    axes = viewpoints.forwards
    cosines = np.einsum("ftc,fc->ft", directions, axes).min(axis=1)
    return _RayTable(
        directions, directions.astype(np.float32), positions, axes, np.arccos(np.clip(cosines, -1.0, 1.0))
    )
