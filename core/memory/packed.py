"""Integers in little room: a plan holds hundreds of millions of slots and tokens, most of them in rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, Integer

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
        edges = np.flatnonzero(np.diff(values) != 1) + 1
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
