"""From what the rollout did to the record in the log."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import torch

from core.hardware import device_peak_bytes, resident_bytes
from core.memory.plan import MemoryPlan
from core.memory.residency import StepTiers
from core.memory.step import ChunkStep
from core.memory.tiers import TIERS, Tier
from core.rollout import ChunkResult
from core.schemas.run import ChunkRecord, RetrievedChunk, StageMs, TierBytes


class RecordMaker:
    """Makes the record of each chunk.

    Args:
        plan: Tells tokens and bytes.
        engine_bytes: Weights, window and bank on the device.
        device: Where the engine runs.
    """

    def __init__(self, plan: MemoryPlan, engine_bytes: int, device: torch.device) -> None:
        self._plan, self._engine_bytes, self._device = plan, engine_bytes, device
        self._bank_chunks = _chunks_in_bank(plan)
        self._next_frame = 0
        self._last = time.perf_counter()

    def start(self, result: ChunkResult, num_frames: int, decode_ms: float) -> ChunkRecord:
        """The record of a decoded chunk, before it is written."""
        step, timings = result.step, result.timings
        layout, tiers = self._plan.layout, self._plan.residency.steps[step.chunk]
        came_from = self._came_from(step, tiers)
        record = ChunkRecord(
            chunk=step.chunk,
            first_frame=self._next_frame,
            num_frames=num_frames,
            given=result.given,
            retrieved=tuple(
                RetrievedChunk(
                    chunk=s.chunk,
                    tokens=len(s.tokens) if s.tokens is not None else self._stored_of(s.chunk),
                    tier=came_from.get(s.chunk, "window"),
                    score=round(float(s.score), 6),
                    overlap=round(float(min(max(s.overlap, 0.0), 1.0)), 4),
                )
                for s in step.selections
            ),
            hits=step.hits,
            misses=step.misses,
            idle=step.idle,
            tokens_kept=len(step.store_pool),
            tokens_dropped=layout.tokens_per_chunk - len(step.store_pool),
            window_tokens=self._plan.visible_tokens(step),
            ms=StageMs(
                retrieve=timings.retrieve_ms,
                denoise=timings.denoise_ms,
                commit=timings.commit_ms,
                decode=decode_ms,
            ),
            bank_chunks=int(self._bank_chunks[step.chunk]),
            stall_ms=timings.stall_ms,
            bank_bytes=self._bytes(dict(zip(TIERS, tiers.live, strict=True))),
            read_bytes=self._bytes(
                {tier: sum(p.slots.count for p in tiers.reads if p.tier == tier) for tier in TIERS}
            ),
        )
        self._next_frame += num_frames
        return record

    def finish(self, record: ChunkRecord, write_ms: float) -> ChunkRecord:
        """The record once the chunk is written: times and memory to the end."""
        now = time.perf_counter()
        wall_ms, self._last = (now - self._last) * 1e3, now
        return record.model_copy(
            update={
                "ms": record.ms.model_copy(update={"write": write_ms}),
                "wall_ms": wall_ms,
                "device_bytes": device_peak_bytes(self._device, self._engine_bytes),
                "host_bytes": resident_bytes(),
            }
        )

    def _bytes(self, tokens: Mapping[Tier, int]) -> TierBytes:
        return TierBytes(**{tier: count * self._plan.bank_token_bytes for tier, count in tokens.items()})

    def _came_from(self, step: ChunkStep, tiers: StepTiers) -> dict[int, Tier]:
        """The slowest tier from which each chunk's tokens came; without those that were in the window."""
        if not step.num_read:
            return {}
        slowest = np.zeros(step.num_read, dtype=np.int64)
        for part in tiers.reads:
            at = slice(None) if part.at is None else part.at.unpack()
            slowest[at] = np.maximum(slowest[at], TIERS.index(part.tier))
        chunks = step.retrieved_sources[step.insert_slots] // self._plan.layout.tokens_per_chunk
        if len(chunks) != step.num_read:  # whole chunks are read, and pruned then
            chunks = np.repeat(chunks[:: self._stored_of(None)], self._plan.layout.tokens_per_chunk)
        return {int(chunk): TIERS[int(slowest[chunks == chunk].max())] for chunk in np.unique(chunks)}

    def _stored_of(self, chunk: int | None) -> int:
        """Tokens that whole chunks keep, or one of them."""
        layout = self._plan.layout
        return self._plan.pruning.kept_per_chunk(layout.tokens_per_frame, layout.chunk_frames, chunk)


def _chunks_in_bank(plan: MemoryPlan) -> np.ndarray:
    """For each chunk, how many chunks have tokens in the bank once it is done."""
    count = len(plan.steps)
    last_use = np.full(count, -1)
    for step in plan.steps:
        for selection in step.selections:
            last_use[selection.chunk] = step.chunk
        if plan.keep_all:
            last_use[step.chunk] = count
    change = np.zeros(count + 1, dtype=np.int64)
    for step in plan.steps:
        if len(step.store_pool) and last_use[step.chunk] > step.chunk:
            change[step.chunk] += 1
            change[min(last_use[step.chunk], count)] -= 1
    return np.cumsum(change)[:count]
