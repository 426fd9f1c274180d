"""Medians with their spread, and paired ratios."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """A median and the quartiles around it.

    Attributes:
        median: Half of the values are below.
        low: A quarter of the values is below.
        high: A quarter of the values is above.
        count: Values.
    """

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """Of some values; None if there are none."""
        if not len(values):
            return None
        low, median, high = np.quantile(np.asarray(values, dtype=float), (0.25, 0.5, 0.75))
        return cls(float(median), float(low), float(high), len(values))


def paired_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Spread | None:
    """Spread of the ratios of values that were measured side by side; None if there are none.

    A machine that slows down for a while slows down both of a pair, which a ratio of two medians would not
    know.
    """
    pairs = [a / b for a, b in zip(numerators, denominators, strict=True) if b > 0]
    return Spread.of(pairs)
