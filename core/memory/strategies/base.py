"""The contract of a retrieval strategy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Protocol, runtime_checkable

from core.memory.selection import Selection
from core.memory.viewpoints import Viewpoints


@runtime_checkable
class Strategy(Protocol):
    """Decides which past chunks, or tokens of them, a coming chunk gets to see.

    Attributes:
        name: The word for it in flags and logs.
        whole_chunks: True if it takes all that is stored of a chunk, False if it picks tokens.
    """

    name: ClassVar[str]
    whole_chunks: ClassVar[bool]

    @property
    def max_chunks(self) -> int | None:
        """Most chunks that one selection takes; None for a strategy that counts tokens alone."""
        ...

    def select(
        self, viewpoints: Viewpoints, chunk: int, candidates: Sequence[int], budget_tokens: int
    ) -> list[Selection]:
        """Pick from the candidates (ascending) for a coming chunk, best first.

        Fewer than the budget allows where too little corresponds. `overlap` is left to the schedule.
        """
        ...


@runtime_checkable
class BatchStrategy(Strategy, Protocol):
    """A strategy that is faster when it is asked for all coming chunks at once."""

    def select_all(
        self, viewpoints: Viewpoints, asked: Sequence[tuple[int, range]], budget_tokens: int
    ) -> Iterator[list[Selection]]:
        """`select` for many coming chunks, each with its candidates; nothing where there are none."""
        ...
