"""What a strategy picks for one coming chunk: past chunks, whole or by the token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64


@dataclass(frozen=True, eq=False)
class Selection:
    """One past chunk that comes back into the window.

    Attributes:
        chunk: The past chunk.
        tokens: Sorted token indices within the chunk, counted in (frame, row, column) order; None for
            everything that the bank stores of the chunk.
        score: The strategy's distance: lower is better. Comparable within one strategy only.
        overlap: Share of the coming chunk's view that the whole past chunk sees. Range: [0, 1].
    """

    chunk: int
    tokens: Int64[np.ndarray, " tokens"] | None
    score: float
    overlap: float = 0.0
