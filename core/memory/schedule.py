"""What every chunk of the rollout retrieves, known before the rollout starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from core.errors import InputError
from core.memory.layout import MemoryMode, WindowLayout
from core.memory.overlap import OverlapSampling, OverlapTable, overlap_table
from core.memory.relevance import relevant_counts
from core.memory.selection import Selection
from core.memory.strategies.base import BatchStrategy, Strategy
from core.memory.viewpoints import Viewpoints

HIT_OVERLAP = 0.5
"""Share of the coming view that a past chunk must see for its absence to count as a miss."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ScheduledChunk:
    """What one chunk retrieves, and how good that choice is.

    Attributes:
        chunk: The coming chunk.
        num_candidates: Past chunks it may choose from.
        selections: What it retrieves, best first.
        hits: Past chunks outside the native window that truly overlap the view and are retrieved, at least
            in part.
        misses: The same, not retrieved; of rollouts with very many different views an estimate, see
            `Schedule.counted_every`.
        idle: Retrieved chunks that do not truly overlap the view.
    """

    chunk: int
    num_candidates: int
    selections: tuple[Selection, ...]
    hits: int
    misses: int
    idle: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Schedule:
    """Retrieval of the whole rollout.

    Attributes:
        strategy: Name of the strategy; None for a memory mode without retrieval.
        hit_overlap: Overlap from which a past chunk counts as truly overlapping. Range: (0, 1].
        chunks: One entry a chunk.
        counted_every: Misses are exact where this is 1; else they were counted as if the camera stood still
            for so many chunks at a time (see `relevance.Relevant`).
    """

    strategy: str | None
    hit_overlap: float
    chunks: tuple[ScheduledChunk, ...]
    counted_every: int = 1

    @property
    def hits(self) -> int:
        """Hits of all chunks."""
        return sum(c.hits for c in self.chunks)

    @property
    def misses(self) -> int:
        """Misses of all chunks."""
        return sum(c.misses for c in self.chunks)

    @property
    def idle(self) -> int:
        """Idle retrievals of all chunks."""
        return sum(c.idle for c in self.chunks)

    @property
    def precision(self) -> float | None:
        """Share of the retrieved chunks that truly overlap; None if nothing was retrieved."""
        retrieved = self.hits + self.idle
        return self.hits / retrieved if retrieved else None

    @property
    def recall(self) -> float | None:
        """Share of the truly overlapping chunks that were retrieved; None if there were none."""
        relevant = self.hits + self.misses
        return self.hits / relevant if relevant else None

    @property
    def revisiting_chunks(self) -> int:
        """Chunks whose view was seen before, outside the native window."""
        return sum(c.hits + c.misses > 0 for c in self.chunks)

    @property
    def recalled_chunks(self) -> int:
        """Revisiting chunks that retrieve at least one chunk that saw the view."""
        return sum(c.hits > 0 for c in self.chunks)


def build_schedule(
    viewpoints: Viewpoints,
    layout: WindowLayout,
    strategy: Strategy | None,
    *,
    hit_overlap: float = HIT_OVERLAP,
    sampling: OverlapSampling | None = None,
) -> Schedule:
    """Let the strategy choose for every chunk, and compare with what truly overlaps.

    Args:
        viewpoints: Cameras of the rollout.
        layout: The window; only mode worldkv retrieves.
        strategy: Who chooses; not needed in the other modes.
        hit_overlap: Overlap from which a past chunk counts as truly overlapping. Range: (0, 1].
        sampling: Points on which the overlap is measured.
    """
    _check(viewpoints, layout, strategy, hit_overlap)
    chooser = strategy if layout.mode == MemoryMode.WORLDKV else None
    table = overlap_table(viewpoints, sampling or OverlapSampling())
    outside = [layout.outside(chunk) for chunk in range(layout.num_chunks)]
    relevant = relevant_counts(viewpoints, table, outside, hit_overlap)
    chosen = _choose(viewpoints, layout, chooser)
    chunks = tuple(
        _scheduled(chunk, len(layout.candidates(chunk)), selections, table, int(count), hit_overlap)
        for chunk, (selections, count) in enumerate(zip(chosen, relevant.counts, strict=True))
    )
    return Schedule(
        strategy=chooser.name if chooser else None,
        hit_overlap=hit_overlap,
        chunks=chunks,
        counted_every=relevant.every,
    )


def _choose(
    viewpoints: Viewpoints, layout: WindowLayout, strategy: Strategy | None
) -> Iterator[list[Selection]]:
    """What the strategy takes for each chunk."""
    asked = [(chunk, layout.candidates(chunk)) for chunk in range(layout.num_chunks)]
    if isinstance(strategy, BatchStrategy):
        yield from strategy.select_all(viewpoints, asked, layout.retrieve_tokens)
        return
    for chunk, candidates in asked:
        if strategy and len(candidates):
            yield strategy.select(viewpoints, chunk, candidates, layout.retrieve_tokens)
        else:
            yield []


def _scheduled(
    chunk: int,
    num_candidates: int,
    selections: list[Selection],
    table: OverlapTable,
    relevant: int,
    hit_overlap: float,
) -> ScheduledChunk:
    overlap = table.overlaps(chunk, [s.chunk for s in selections]).tolist() if selections else []
    hits = sum(o >= hit_overlap for o in overlap)
    return ScheduledChunk(
        chunk=chunk,
        num_candidates=num_candidates,
        selections=tuple(s.seen(o) for s, o in zip(selections, overlap, strict=True)),
        hits=hits,
        misses=max(0, relevant - hits),
        idle=len(selections) - hits,
    )


def _check(
    viewpoints: Viewpoints, layout: WindowLayout, strategy: Strategy | None, hit_overlap: float
) -> None:
    if (viewpoints.num_frames, viewpoints.chunk_frames, viewpoints.tokens_per_frame) != (
        layout.num_frames,
        layout.chunk_frames,
        layout.tokens_per_frame,
    ):
        raise InputError(
            f"the window is laid out for {layout.num_frames} frames of {layout.tokens_per_frame} tokens, "
            f"the viewpoints have {viewpoints.num_frames} of {viewpoints.tokens_per_frame}",
            where="window",
        )
    if layout.mode == MemoryMode.WORLDKV and strategy is None:
        raise InputError("memory mode worldkv needs a retrieval strategy", where="--strategy")
    if not 0 < hit_overlap <= 1:
        raise InputError(f"hit_overlap must lie in (0, 1], got {hit_overlap:g}", where="--hit-overlap")
