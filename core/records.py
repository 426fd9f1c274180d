"""From what the rollout did to the record in the log."""

from __future__ import annotations

import time

import numpy as np
import torch

from core.hardware import device_peak_bytes, resident_bytes
from core.memory.bank import Tier
from core.memory.plan import MemoryPlan
from core.rollout import ChunkResult
from core.schemas.run import ChunkRecord, RetrievedChunk, StageMs, TierBytes


class RecordMaker:
    """Makes the record of each chunk.

    Args:
        plan: Tells tokens and bytes.
        engine_bytes: Weights, window and bank.
        device: Where the engine runs.
        tier: Where the bank lies.
    """

    def __init__(
        self, plan: MemoryPlan, engine_bytes: int, device: torch.device, tier: Tier = "device"
    ) -> None:
        self._plan, self._engine_bytes, self._device, self._tier = plan, engine_bytes, device, tier
        self._bank_chunks = _chunks_in_bank(plan)
        self._next_frame = 0
        self._last = time.perf_counter()

    def start(self, result: ChunkResult, num_frames: int, decode_ms: float) -> ChunkRecord:
        """The record of a decoded chunk, before it is written."""
        step, timings = result.step, result.timings
        layout, footprint = self._plan.layout, self._plan.footprint
        record = ChunkRecord(
            chunk=step.chunk,
            first_frame=self._next_frame,
            num_frames=num_frames,
            given=result.given,
            retrieved=tuple(
                RetrievedChunk(
                    chunk=s.chunk,
                    tokens=len(s.tokens) if s.tokens is not None else self._stored_per_chunk,
                    tier=self._tier,
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
            bank_bytes=TierBytes(**{self._tier: step.bank_tokens_live * footprint.kv_bytes_per_token}),
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

    @property
    def _stored_per_chunk(self) -> int:
        layout = self._plan.layout
        return self._plan.pruning.kept_per_chunk(layout.tokens_per_frame, layout.chunk_frames)


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
