"""Numbers by the chunk, thinned to what a figure can show: neighbouring chunks share a column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from jaxtyping import Float64, Int64

from core.schemas.run import ChunkRecord

MOST_COLUMNS: Final = 400
"""Of a figure: more are narrower than what a screen can show."""


@dataclass(frozen=True, eq=False)
class Columns:
    """Which chunks share a column.

    Attributes:
        starts: First chunk of each column.
        count: Chunks there are.
    """

    starts: Int64[np.ndarray, " columns"]
    count: int

    @classmethod
    def of(cls, count: int, most: int = MOST_COLUMNS) -> Columns:
        """Columns of equal width, at most so many."""
        width = max(1, -(-count // most))
        return cls(np.arange(0, max(count, 1), width, dtype=np.int64), count)

    @property
    def width(self) -> int:
        """Chunks of a column."""
        return int(self.starts[1] - self.starts[0]) if len(self.starts) > 1 else max(1, self.count)

    @property
    def edges(self) -> list[float]:
        """Left edges of the columns in chunks, and the right edge of the last."""
        return [*map(float, self.starts), float(self.count)]

    @property
    def middles(self) -> list[float]:
        """Where a line goes through."""
        edges = self.edges
        return [(a + b) / 2 for a, b in pairwise(edges)]

    @property
    def note(self) -> str:
        """What the reader must know of it; empty if every chunk has its own column."""
        thinned = len(self.starts) < self.count
        return f"Each column is {self.width} neighbouring chunks." if thinned else ""

    def mean(self, values: Float64[np.ndarray, " chunks"]) -> Float64[np.ndarray, " columns"]:
        """Mean of each column."""
        if not self.count:
            return np.zeros(len(self.starts))
        sizes = np.diff(self.starts, append=self.count)
        sums: Float64[np.ndarray, " columns"] = np.add.reduceat(values, self.starts)
        return sums / sizes

    def largest(self, values: Float64[np.ndarray, " chunks"]) -> Float64[np.ndarray, " columns"]:
        """Largest value of each column."""
        if not self.count:
            return np.zeros(len(self.starts))
        largest: Float64[np.ndarray, " columns"] = np.maximum.reduceat(values, self.starts)
        return largest


def by_chunk(
    chunks: Sequence[ChunkRecord], value: Callable[[ChunkRecord], float]
) -> Float64[np.ndarray, " chunks"]:
    """One number of every chunk."""
    return np.array([value(record) for record in chunks], dtype=np.float64)


def spread(count: int, most: int) -> Int64[np.ndarray, " shown"]:
    """Indices spread evenly, all of them if there are few."""
    if count <= most:
        return np.arange(count, dtype=np.int64)
    return np.unique(np.linspace(0, count - 1, most).round().astype(np.int64))
