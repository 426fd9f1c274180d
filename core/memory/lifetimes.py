"""When every token of the rollout is retrieved: first, last and next use.

What is never retrieved need not be stored; what was used for the last time can be freed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, Int64

from core.memory.schedule import Schedule
from core.memory.selection import Selection

NEVER = -1
"""Stands for a use that does not happen."""


@dataclass(frozen=True, eq=False)
class ChunkUses:
    """All retrievals of one past chunk.

    Attributes:
        used_by: Chunks that retrieve it, ascending.
        selections: What each of them takes.
    """

    used_by: tuple[int, ...]
    selections: tuple[Selection, ...]


@dataclass(frozen=True, eq=False)
class Lifetimes:
    """Uses of every chunk and token.

    Attributes:
        tokens_per_chunk: Tokens of a chunk.
        uses: One entry a chunk of the rollout.
    """

    tokens_per_chunk: int
    uses: tuple[ChunkUses, ...]

    def asked_tokens(self, chunk: int) -> Int64[np.ndarray, " tokens"] | None:
        """Sorted token indices that any later chunk retrieves; None for everything stored."""
        if self.comes_whole(chunk):
            return None
        return np.flatnonzero(self.last_use(chunk) != NEVER)

    def comes_whole(self, chunk: int) -> bool:
        """Whether any later chunk retrieves everything stored of it."""
        return any(selection.picked is None for selection in self.uses[chunk].selections)

    def last_chunk(self, chunk: int) -> int:
        """Last chunk that retrieves anything of it, or NEVER."""
        used_by = self.uses[chunk].used_by
        return used_by[-1] if used_by else NEVER

    def first_use(self, chunk: int) -> Int32[np.ndarray, " tokens_per_chunk"]:
        """First chunk that retrieves each token, or NEVER. A whole chunk uses all of its tokens."""
        return self._use(chunk, range(len(self.uses[chunk].used_by) - 1, -1, -1))

    def last_use(self, chunk: int) -> Int32[np.ndarray, " tokens_per_chunk"]:
        """Last chunk that retrieves each token, or NEVER."""
        return self._use(chunk, range(len(self.uses[chunk].used_by)))

    def next_use(self, chunk: int, after: int) -> Int32[np.ndarray, " tokens_per_chunk"]:
        """First chunk later than `after` that retrieves each token, or NEVER."""
        used_by = self.uses[chunk].used_by
        start = int(np.searchsorted(used_by, after, side="right"))
        return self._use(chunk, range(len(used_by) - 1, start - 1, -1))

    def _use(self, chunk: int, order: range) -> Int32[np.ndarray, " tokens_per_chunk"]:
        """Chunk of the last use in the given order, token by token."""
        found = np.full(self.tokens_per_chunk, NEVER, dtype=np.int32)
        uses = self.uses[chunk]
        for use in order:
            tokens = uses.selections[use].tokens
            found[slice(None) if tokens is None else tokens] = uses.used_by[use]
        return found


def lifetimes(schedule: Schedule, tokens_per_chunk: int) -> Lifetimes:
    """Turn the schedule round: for every past chunk, who retrieves it."""
    used_by: list[list[int]] = [[] for _ in schedule.chunks]
    taken: list[list[Selection]] = [[] for _ in schedule.chunks]
    for scheduled in schedule.chunks:
        for selection in scheduled.selections:
            used_by[selection.chunk].append(scheduled.chunk)
            taken[selection.chunk].append(selection)
    uses = tuple(ChunkUses(tuple(u), tuple(t)) for u, t in zip(used_by, taken, strict=True))
    return Lifetimes(tokens_per_chunk=tokens_per_chunk, uses=uses)
