"""What a strategy picks for one coming chunk: past chunks, whole or by the token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64


@runtime_checkable
class PackedTokens(Protocol):
    """Token indices in a form that takes less room: a long rollout holds millions of them."""

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    def unpack(self) -> Int64[np.ndarray, " tokens"]:
        """The sorted token indices."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class Selection:
    """One past chunk that comes back into the window.

    Attributes:
        chunk: The past chunk.
        picked: Sorted token indices within the chunk, counted in (frame, row, column) order, packed or not;
            None for everything that the bank stores of the chunk.
        score: The strategy's distance: lower is better. Comparable within one strategy only.
        overlap: Share of the coming chunk's view that the whole past chunk sees. Range: [0, 1].
    """

    chunk: int
    picked: Int64[np.ndarray, " tokens"] | PackedTokens | None
    score: float
    overlap: float = 0.0

    @property
    def tokens(self) -> Int64[np.ndarray, " tokens"] | None:
        """Sorted token indices; None for everything stored. Unpacked anew each time, do not change it."""
        if self.picked is None or isinstance(self.picked, np.ndarray):
            return self.picked
        return self.picked.unpack()

    def seen(self, overlap: float) -> Selection:
        """The same with its overlap."""
        return Selection(self.chunk, self.picked, self.score, overlap)
