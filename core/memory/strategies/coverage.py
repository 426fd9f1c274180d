"""Whole chunks that, together, see most of what the coming chunk will see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Int64

from core.errors import InputError
from core.memory.overlap import OverlapSampling, overlap_table
from core.memory.selection import Selection
from core.memory.strategies.near_chunks import near_chunks
from core.memory.viewpoints import Viewpoints

LISTED_CHUNKS = 64
"""Candidates that are looked at closely; all of them while there are no more."""


@dataclass(frozen=True)
class Coverage:
    """Greedy cover of the coming chunk's sample points; ties go to the older chunk.

    A near-duplicate of a chunk already taken adds nothing and is left out, unlike with `pose`. Beyond 64
    candidates those with the nearest cameras are looked at, of laps the oldest: a camera a long way behind
    has the whole view in its frustum, too, but next to nothing to tell about it.

    Attributes:
        num_chunks: Most chunks to retrieve.
        min_gain: Share of the coming view that a chunk must add to be taken. Range: (0, 1].
        sampling: Points that stand for the view.
    """

    name: ClassVar[str] = "coverage"
    whole_chunks: ClassVar[bool] = True

    num_chunks: int = 3
    min_gain: float = 0.05
    sampling: OverlapSampling = OverlapSampling()  # noqa: RUF009 -- frozen

    def __post_init__(self) -> None:
        if self.num_chunks < 1:
            raise InputError(f"num_chunks must be positive, got {self.num_chunks}", where="--retrieve")
        if not 0 < self.min_gain <= 1:
            raise InputError(f"min_gain must lie in (0, 1], got {self.min_gain:g}", where="coverage.min_gain")

    @property
    def max_chunks(self) -> int | None:
        """Most chunks that one selection takes."""
        return self.num_chunks

    def select(
        self,
        viewpoints: Viewpoints,
        chunk: int,
        candidates: Sequence[int],
        budget_tokens: int,
    ) -> list[Selection]:
        """Take the chunk that adds most, again and again; the score is the share that it leaves unseen."""
        if not len(candidates):
            return []
        first, last = candidates[0], candidates[-1]
        if len(candidates) != last - first + 1:
            return self._cover(viewpoints, chunk, np.asarray(candidates, dtype=np.int64))
        return next(self.select_all(viewpoints, [(chunk, range(first, last + 1))], budget_tokens))

    def select_all(
        self,
        viewpoints: Viewpoints,
        asked: Sequence[tuple[int, range]],
        budget_tokens: int,  # noqa: ARG002 -- whole chunks: the plan has checked that num_chunks fit
    ) -> Iterator[list[Selection]]:
        """`select` for many coming chunks."""
        weight = 1 / float(np.median(self.sampling.depths))
        listed = near_chunks(viewpoints, asked, count=LISTED_CHUNKS, weight=weight)
        for (chunk, _), index in zip(asked, listed, strict=True):
            yield self._cover(viewpoints, chunk, index)

    def _cover(
        self, viewpoints: Viewpoints, chunk: int, index: Int64[np.ndarray, " candidates"]
    ) -> list[Selection]:
        table = overlap_table(viewpoints, self.sampling)
        visible = table.visible(chunk, index)
        taken: list[Selection] = []
        while len(taken) < self.num_chunks and visible.size:
            gains = np.count_nonzero(visible, axis=1)
            best = int(np.argmax(gains))
            share = float(gains[best]) / table.num_points
            if share < self.min_gain:
                break
            taken.append(Selection(int(index[best]), None, 1.0 - share))
            visible = visible[:, ~visible[best]]
        return taken
