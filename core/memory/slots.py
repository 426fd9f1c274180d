"""Bookkeeping of the two places where retrieved tokens lie: the bank's pool and the window's region."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64


class PoolSlots:
    """Free list of the bank's pool. The lowest free slots go first, so the pool is as small as its peak."""

    def __init__(self) -> None:
        self._free = np.empty(0, dtype=np.int64)
        self._size = 0

    @property
    def size(self) -> int:
        """Slots ever needed at once."""
        return self._size

    @property
    def live(self) -> int:
        """Slots in use."""
        return self._size - len(self._free)

    def take(self, count: int) -> Int64[np.ndarray, " count"]:
        """The `count` lowest free slots, ascending; the pool grows where they do not suffice."""
        reused, self._free = self._free[:count], self._free[count:]
        missing = count - len(reused)
        grown = np.arange(self._size, self._size + missing, dtype=np.int64)
        self._size += missing
        return np.concatenate([reused, grown])

    def give_back(self, slots: Int64[np.ndarray, " slots"]) -> None:
        """Free slots that are in use."""
        # Two sorted stretches: the stable sort merges them.
        self._free = np.sort(np.concatenate([self._free, np.sort(slots)]), kind="stable")


@dataclass(frozen=True, eq=False)
class RegionUpdate:
    """What to write so that the region holds exactly the wanted tokens in its first slots.

    Attributes:
        slots: Region slots to write.
        wanted: For each of them, which of the wanted tokens goes there (index into the wanted ones).
        order: For every filled slot, which of the wanted tokens it holds.
    """

    slots: Int64[np.ndarray, " written"]
    wanted: Int64[np.ndarray, " written"]
    order: Int64[np.ndarray, " filled"]


class RegionSlots:
    """Slots of the window's retrieved region, filled from the start without holes.

    A token that stays wanted stays in its slot, unless the region shrinks below it. New tokens take the
    lowest holes, in the order in which they are wanted. No other assignment writes fewer slots.
    """

    def __init__(self) -> None:
        self._held = np.empty(0, dtype=np.int64)

    def update(self, wanted: Int64[np.ndarray, " wanted"], *, rewrite_all: bool) -> RegionUpdate:
        """Make the region hold the wanted tokens (distinct labels).

        Args:
            wanted: Labels of the tokens.
            rewrite_all: Lay all tokens anew in the wanted order, for positions that change every chunk.
        """
        count = len(wanted)
        if rewrite_all:
            every = np.arange(count, dtype=np.int64)
            self._held = wanted
            return RegionUpdate(every, every, every)
        held = self._held[:count]
        order = _find(held, wanted)
        order = np.concatenate([order, np.full(count - len(order), -1, dtype=np.int64)])
        slots = np.flatnonzero(order < 0).astype(np.int64)
        placed = np.zeros(count, dtype=bool)
        placed[order[order >= 0]] = True
        new = np.flatnonzero(~placed).astype(np.int64)
        order[slots] = new
        self._held = wanted[order]
        return RegionUpdate(slots, new, order)


def _find(labels: Int64[np.ndarray, " n"], among: Int64[np.ndarray, " m"]) -> Int64[np.ndarray, " n"]:
    """Index of each label among the others, -1 where it is missing."""
    if not len(among):
        return np.full(len(labels), -1, dtype=np.int64)
    by_label = np.argsort(among)
    place = np.minimum(np.searchsorted(among, labels, sorter=by_label), len(among) - 1)
    index = by_label[place]
    return np.where(among[index] == labels, index, -1)
