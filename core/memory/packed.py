"""Integers in little room: a plan holds hundreds of millions of slots and tokens, most of them in rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, Int64, Integer

Small = Integer[np.ndarray, " _"]


@dataclass(frozen=True, eq=False, slots=True)
class PackedInts:
    """Integers as stretches that count up by one, or one by one where that takes less room.

    Attributes:
        starts: First integer of each stretch, or every integer.
        lengths: Length of each stretch; None if every integer stands for itself.
        count: How many integers there are.
    """

    starts: Small
    lengths: Small | None
    count: int

    @classmethod
    def pack(cls, values: Int64[np.ndarray, " values"]) -> PackedInts:
        """Pack integers; their order is kept."""
        edges = np.flatnonzero(values[1:] - values[:-1] != 1) + 1
        if 2 * (len(edges) + 1) >= len(values):
            return cls(_small(values), None, len(values))
        starts = np.concatenate([[0], edges])
        return cls(_small(values[starts]), _small(np.diff(starts, append=len(values))), len(values))

    def unpack(self) -> Int64[np.ndarray, " values"]:
        """The integers."""
        if self.lengths is None:
            return self.starts.astype(np.int64)
        lengths = self.lengths.astype(np.int64)
        before = np.cumsum(lengths) - lengths
        return np.repeat(self.starts - before, lengths) + np.arange(self.count)


def _small(values: Int64[np.ndarray, " values"]) -> Small:
    """The same integers, none of them negative, in the smallest of three widths that holds them."""
    largest = int(values.max(initial=0))
    for width in (np.uint16, np.int32):
        if largest <= np.iinfo(width).max:
            return values.astype(width)
    return values


@dataclass(frozen=True, eq=False, slots=True)
class RunInts:
    """Integers of which neighbours are often equal.

    Attributes:
        values: One integer a run.
        lengths: Length of each run.
    """

    values: Int32[np.ndarray, " runs"]
    lengths: Int32[np.ndarray, " runs"]

    @classmethod
    def pack(cls, integers: Int32[np.ndarray, " integers"]) -> RunInts:
        """Pack integers; their order is kept."""
        if not len(integers):
            nothing = np.empty(0, dtype=np.int32)
            return cls(nothing, nothing)
        starts = np.concatenate([[0], np.flatnonzero(np.diff(integers)) + 1])
        lengths = np.diff(starts, append=len(integers)).astype(np.int32)
        return cls(integers[starts].astype(np.int32), lengths)

    def unpack(self) -> Int32[np.ndarray, " integers"]:
        """The integers."""
        return np.repeat(self.values, self.lengths)

    def totals(self) -> tuple[Int64[np.ndarray, " different"], Int64[np.ndarray, " different"]]:
        """The different integers, ascending, and how often each occurs."""
        different, which = np.unique(self.values, return_inverse=True)
        counts = np.bincount(which, weights=self.lengths, minlength=len(different))
        return different.astype(np.int64), counts.astype(np.int64)
