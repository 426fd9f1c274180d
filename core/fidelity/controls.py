"""Controls that are matched to their revisits: other places, as far apart in time, at about the same time.

Where a path repeats itself exactly, no two other places have exactly the gap of a lap but at the video's very
end; a control from there would be judged late, where everything has drifted, and its revisit all along.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from core.fidelity.pairs import CONTROL_DISTANCE, FramePair, view_distance

SLACK_FRAMES = 30
"""A control is drawn from those that are nearest in time and gap, and up to so many frames farther off."""

NEAR_FRAMES = 128
"""Up to so many frames off every candidate is looked at."""

GRID_FRAMES = 1024
"""Farther off, at most so many frames, evenly spread: comparing all of a long path takes minutes."""

_FIRST_REACH = 16
_BLOCK = 1 << 16


def matched_controls(
    c2w: Float64[np.ndarray, "frames 4 4"],
    pairs: Sequence[FramePair],
    *,
    min_distance: float = CONTROL_DISTANCE,
    given_frames: int = 0,
    seed: int = 0,
) -> list[FramePair]:
    """The controls of `matched_couples`, without the pairs that they belong to."""
    couples = matched_couples(c2w, pairs, min_distance=min_distance, given_frames=given_frames, seed=seed)
    return [control for _, control in couples]


def matched_couples(
    c2w: Float64[np.ndarray, "frames 4 4"],
    pairs: Sequence[FramePair],
    *,
    min_distance: float = CONTROL_DISTANCE,
    given_frames: int = 0,
    seed: int = 0,
) -> list[tuple[FramePair, FramePair]]:
    """Each pair with another one whose views lie at least `min_distance` apart; none if there is none at all.

    It is drawn at random from those nearest in gap and time: what counts is by how many frames the gap
    differs and by how many the later frame does, together. Each serves once, as far as there are enough.

    All candidates up to NEAR_FRAMES off are looked at, farther ones among GRID_FRAMES frames of the path:
    of longer paths only every second, third, ... frame, so that a shorter glance elsewhere may be missed
    from far off, and the pair is left out then.

    Args:
        c2w: Camera of every video frame.
        pairs: Revisits.
        min_distance: Least |translation| + angle / pi.
        given_frames: First frames that were given; later frames of controls come after them.
        seed: Decides between candidates.
    """
    if not pairs or not _ever_apart(c2w, min_distance):
        return []
    rng = np.random.default_rng(seed)
    used: set[tuple[int, int]] = set()
    far: _Candidates | None = None
    couples = []
    for pair in pairs:
        candidates = _nearest(c2w, pair, min_distance, given_frames)
        if not len(candidates):
            far = _grid_candidates(c2w, min_distance, given_frames) if far is None else far
            candidates = far.nearest(pair)
        if not len(candidates):
            continue
        fresh = [each for each in candidates.tolist() if tuple(each) not in used]
        later, earlier = rng.choice(np.array(fresh or candidates.tolist()))
        used.add((int(later), int(earlier)))
        couples.append((pair, FramePair(later=int(later), earlier=int(earlier))))
    return couples


def _ever_apart(c2w: Float64[np.ndarray, "frames 4 4"], min_distance: float) -> bool:
    """Whether two views may be that far apart: one of them is half as far from the first view then."""
    first = np.broadcast_to(c2w[0], c2w.shape)
    return bool(view_distance(c2w, first).max() >= min_distance / 2)


def _nearest(
    c2w: Float64[np.ndarray, "frames 4 4"], pair: FramePair, min_distance: float, given_frames: int
) -> Int64[np.ndarray, "candidates 2"]:
    """Later and earlier frames of the candidates that are not far off."""
    reach = _FIRST_REACH
    while True:
        found, off = _within(c2w, pair, min_distance, given_frames, reach)
        if len(found):
            break
        if reach >= NEAR_FRAMES:
            return found
        reach *= 2
    least = int(off.min()) + SLACK_FRAMES
    if least > reach:
        found, off = _within(c2w, pair, min_distance, given_frames, least)
    return found[off <= least]


def _within(
    c2w: Float64[np.ndarray, "frames 4 4"],
    pair: FramePair,
    min_distance: float,
    given_frames: int,
    reach: int,
) -> tuple[Int64[np.ndarray, "candidates 2"], Int64[np.ndarray, " candidates"]]:
    """Candidates up to `reach` frames off, and how far off each is."""
    first, last = max(1, given_frames, pair.later - reach), min(len(c2w), pair.later + reach + 1)
    rows = max(1, _BLOCK // (2 * reach + 1))
    found, offs = [np.empty((0, 2), dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for start in range(first, last, rows):
        laters = np.arange(start, min(start + rows, last))
        gaps = pair.gap_frames + np.arange(-reach, reach + 1)
        later, gap = (each.reshape(-1) for each in np.meshgrid(laters, gaps, indexing="ij"))
        off = np.abs(later - pair.later) + np.abs(gap - pair.gap_frames)
        near = (off <= reach) & (gap > 0) & (gap <= later)
        later, earlier, off = later[near], (later - gap)[near], off[near]
        apart = view_distance(c2w[later], c2w[earlier]) >= min_distance
        found.append(np.stack([later[apart], earlier[apart]], axis=1))
        offs.append(off[apart])
    return np.concatenate(found), np.concatenate(offs)


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Views far apart, of frames that are `stride` apart in time.

    Attributes:
        frames: Later and earlier frame of each.
        stride: Frames from one that was looked at to the next.
    """

    frames: Int64[np.ndarray, "candidates 2"]
    stride: int

    def nearest(self, pair: FramePair) -> Int64[np.ndarray, "candidates 2"]:
        """Those nearest to a pair in gap and time."""
        if not len(self.frames):
            return self.frames
        later, earlier = self.frames.T
        off = np.abs(later - pair.later) + np.abs(later - earlier - pair.gap_frames)
        near: Int64[np.ndarray, "candidates 2"] = self.frames[
            off <= off.min() + SLACK_FRAMES + 2 * (self.stride - 1)
        ]
        return near


def _grid_candidates(
    c2w: Float64[np.ndarray, "frames 4 4"], min_distance: float, given_frames: int
) -> _Candidates:
    """All candidates among at most GRID_FRAMES frames."""
    stride = -(-len(c2w) // GRID_FRAMES)
    found = [np.empty((0, 2), dtype=np.int64)]
    for later in range(0, len(c2w), stride):
        if later < max(1, given_frames):
            continue
        earlier = np.arange(0, later, stride)[::-1]
        here = np.broadcast_to(c2w[later], (len(earlier), 4, 4))
        apart = earlier[view_distance(here, c2w[earlier]) >= min_distance]
        found.append(np.stack([np.full_like(apart, later), apart], axis=1))
    return _Candidates(np.concatenate(found), stride)
