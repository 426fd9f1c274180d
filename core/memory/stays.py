"""Stays: how long a token lies in the bank between two moments at which it is on the device anyway.

A token is on the device when it is stored and each time it is read into the window. Between two of these
moments it must lie in some tier, and because the rollout is scripted, both moments are known. A *stay* is
such a stretch: from a chunk that stores or reads the token to the next one that reads it. Which stays a tier
of limited room takes is decided for all of them at once, before the rollout; a token is then never evicted
in the middle of a stay.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64


@dataclass(frozen=True, eq=False)
class Stays:
    """Stays of many tokens; those of the same stretch are counted together.

    A token takes room from the end of chunk `starts` on, and gives it free when chunk `ends` reads it.

    Attributes:
        starts: Chunk that stores or reads the tokens, ascending.
        ends: Next chunk that reads them; later than `starts`.
        stored: Whether they are stored at the start; otherwise they are read.
        tokens: How many there are.
    """

    starts: Int64[np.ndarray, " stays"]
    ends: Int64[np.ndarray, " stays"]
    stored: Int64[np.ndarray, " stays"]
    tokens: Int64[np.ndarray, " stays"]

    def without(self, tokens: Int64[np.ndarray, " stays"]) -> Stays:
        """What is left once some tokens of each stay have found room; the order is kept."""
        return Stays(self.starts, self.ends, self.stored, self.tokens - tokens)

    @property
    def peak_tokens(self) -> int:
        """Most tokens that stay at the same time."""
        if not len(self.starts):
            return 0
        change = np.zeros(int(self.ends.max()) + 1, dtype=np.int64)
        np.add.at(change, self.starts, self.tokens)
        np.add.at(change, self.ends, -self.tokens)
        return int(np.cumsum(change).max())


def nearest_stays(stays: Stays, room: int) -> Int64[np.ndarray, " stays"]:
    """Tokens of each stay that a tier takes, so that as many reads as possible are served from it.

    Whenever more tokens would stay than there is room for, those go elsewhere whose next read is furthest
    away, for the whole of their stay. No other choice serves more reads. A second tier chooses likewise
    from what is left, the best that it can do; one tier of both rooms might serve a few more, because there
    a token could go down in the middle of its stay, which would be written twice.

    Source: Belady 1966 (replacement), in the form of Carlisle and Lloyd 1995 and Faigle and Nawijn 1995
    (largest k-colourable set of intervals).

    Args:
        stays: All of them.
        room: Tokens that fit at a time.
    """
    # Plain lists: thousands of numbers, touched one at a time.
    taken, ends = stays.tokens.tolist(), stays.ends.tolist()
    leaving = [0] * (max(ends, default=0) + 1)
    furthest: list[tuple[int, int, int]] = []
    held, now = 0, -1
    for stay, (start, stored) in enumerate(zip(stays.starts.tolist(), stays.stored.tolist(), strict=True)):
        held -= sum(leaving[now + 1 : start + 1])
        now, end = start, ends[stay]
        # Of equally distant ones, what has just been read goes first: it may lie elsewhere already.
        heapq.heappush(furthest, (-end, stored, stay))
        held += taken[stay]
        leaving[end] += taken[stay]
        while held > room:
            last = furthest[0][2]
            out = min(held - room, taken[last])
            taken[last] -= out
            leaving[ends[last]] -= out
            held -= out
            if not taken[last]:
                heapq.heappop(furthest)
    return np.array(taken, dtype=np.int64)
