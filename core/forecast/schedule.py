"""What a schedule retrieves, in numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int64

from core.memory.plan import MemoryPlan
from core.schemas.forecast import Distances, Retrieval, Spread


def retrieval(plan: MemoryPlan, chunk_s: float) -> Retrieval:
    """The schedule of a plan.

    Args:
        plan: Of the rollout.
        chunk_s: Seconds of video of a chunk.
    """
    schedule, steps = plan.schedule, [step for step in plan.steps if step.num_retrieved]
    tokens = np.array([step.num_retrieved for step in steps], dtype=np.int64)
    chunks = np.array([len(step.selections) for step in steps], dtype=np.int64)
    back = reuse_distances(plan)
    return Retrieval(
        strategy=schedule.strategy,
        retrieving_chunks=len(steps),
        tokens_per_chunk=spread(tokens),
        chunks_per_chunk=spread(chunks),
        distance_chunks=spread(back),
        distance_s=spread(back, chunk_s),
        distances=tuple(_classes(back)),
        revisiting_chunks=schedule.revisiting_chunks,
        recalled_chunks=schedule.recalled_chunks,
        recall=schedule.recall,
        precision=schedule.precision,
    )


def reuse_distances(plan: MemoryPlan) -> Int64[np.ndarray, " selections"]:
    """How many chunks back every retrieved chunk lies."""
    back = [step.chunk - selection.chunk for step in plan.steps for selection in step.selections]
    return np.array(back, dtype=np.int64)


def spread(values: Int64[np.ndarray, " values"], unit: float = 1.0) -> Spread:
    """Order statistics, each times `unit`."""
    if not len(values):
        return Spread(least=0, median=0, most=0)
    least, median, most = np.quantile(values, (0.0, 0.5, 1.0)) * unit
    return Spread(least=float(least), median=float(median), most=float(most))


def _classes(back: Int64[np.ndarray, " selections"]) -> Iterator[Distances]:
    """1, 2 to 3, 4 to 7, ... chunks back, up to the furthest."""
    first = 1
    while first <= back.max(initial=0):
        last = 2 * first - 1
        count = int(((back >= first) & (back <= last)).sum())
        yield Distances(from_chunks=first, to_chunks=last, retrieved=count)
        first = last + 1
