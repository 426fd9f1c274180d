"""Bookkeeping of the two places where retrieved tokens lie: the bank's pool and the window's region."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64


class PoolSlots:
    """Free list of a pool. The lowest free slots go first, so the pool is as small as its peak.

    Free slots are kept as stretches: slots come and go by the chunk, or by what is left of one.
    """

    def __init__(self) -> None:
        self._starts = self._ends = np.empty(
            0, dtype=np.int64
        )  # of free stretches, ascending, never touching
        self._free = self._size = 0

    @property
    def size(self) -> int:
        """Slots ever needed at once."""
        return self._size

    @property
    def live(self) -> int:
        """Slots in use."""
        return self._size - self._free

    def take(self, count: int) -> Int64[np.ndarray, " count"]:
        """The `count` lowest free slots, ascending; the pool grows where they do not suffice."""
        grown = max(0, count - self._free)
        reach = np.cumsum(self._ends - self._starts)
        whole = int(np.searchsorted(reach, count - grown, side="right"))  # stretches that are used up
        starts, ends = self._starts[:whole], self._ends[:whole]
        part = count - grown - (int(reach[whole - 1]) if whole else 0)
        if part:
            starts = np.append(starts, self._starts[whole])
            ends = np.append(ends, self._starts[whole] + part)
            self._starts = self._starts.copy()
            self._starts[whole] += part
        self._starts, self._ends = self._starts[whole:], self._ends[whole:]
        self._free -= count - grown
        if grown:
            starts, ends = np.append(starts, self._size), np.append(ends, self._size + grown)
            self._size += grown
        return _stretched(starts, ends - starts)

    def give_back(self, slots: Int64[np.ndarray, " slots"]) -> None:
        """Free slots that are in use."""
        if not len(slots):
            return
        slots = np.sort(slots)
        breaks = np.flatnonzero(np.diff(slots) != 1) + 1
        starts = np.concatenate([self._starts, slots[:1], slots[breaks]])
        ends = np.concatenate([self._ends, slots[breaks - 1] + 1, slots[-1:] + 1])
        order = np.argsort(starts, kind="stable")  # two sorted lists: they are merged
        starts, ends = starts[order], ends[order]
        apart = np.flatnonzero(starts[1:] != ends[:-1]) + 1
        self._starts = starts[np.concatenate([[0], apart])]
        self._ends = ends[np.concatenate([apart - 1, [len(ends) - 1]])]
        self._free += len(slots)


def _stretched(
    starts: Int64[np.ndarray, " stretches"], lengths: Int64[np.ndarray, " stretches"]
) -> Int64[np.ndarray, " slots"]:
    """All integers of some stretches."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()), dtype=np.int64)


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
    by_label = np.argsort(among, kind="stable")  # they come in long rising rows
    ordered = among[by_label]
    place = np.minimum(np.searchsorted(ordered, labels), len(among) - 1)
    return np.where(ordered[place] == labels, by_label[place], -1)
