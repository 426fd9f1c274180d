"""Whole chunks that, together, see most of what the coming chunk will see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from core.errors import InputError
from core.memory.overlap import OverlapSampling, overlap_table
from core.memory.selection import Selection
from core.memory.viewpoints import Viewpoints


@dataclass(frozen=True)
class Coverage:
    """Greedy cover of the coming chunk's sample points; ties go to the older chunk.

    A near-duplicate of a chunk already taken adds nothing and is left out, unlike with `pose`.

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
        budget_tokens: int,  # noqa: ARG002 -- whole chunks: the plan has checked that num_chunks fit
    ) -> list[Selection]:
        """Take the chunk that adds most, again and again; the score is the share that it leaves unseen."""
        index = np.asarray(candidates, dtype=np.int64)
        if not len(index):
            return []
        visible = overlap_table(viewpoints, self.sampling).visible(chunk, index)
        taken: list[Selection] = []
        while len(taken) < self.num_chunks and visible.shape[1]:
            gains = visible.sum(axis=1)
            best = int(np.argmax(gains))
            share = float(gains[best]) / overlap_table(viewpoints, self.sampling).num_points
            if share < self.min_gain:
                break
            taken.append(Selection(int(index[best]), None, 1.0 - share))
            visible = visible[:, ~visible[best]]
        return taken
