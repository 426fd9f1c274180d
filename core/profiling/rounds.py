"""Rollouts of several memory modes, timed in turn: a machine that others use, too, hits all of them alike."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from core.hardware import device_peak_bytes, release_device, resident_bytes
from core.models.base import Decoder
from core.profiling.engine import Cell, Stage
from core.rollout import ChunkResult
from core.runlog import DEFAULT_WARM_UP_CHUNKS

Interleaving = Literal["chunk", "run"]
"""Whether modes take turns after every chunk or after every rollout."""

PROBE_CHUNKS = 3
"""Chunks that are run before each rollout length, where those between are jumped over."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TimedChunk:
    """One chunk of one rollout.

    Attributes:
        cell: Number of its cell.
        repeat: Number of its rollout.
        chunk: The chunk.
        warm_up: Whether it is one of the first that ran.
        ms: Milliseconds by stage; without decoding where that was left out.
        stall_ms: Of them, spent waiting for the bank.
        cpu_ms: Processor time of all threads of the process, decoding left out.
        device_bytes: Peak device memory; on the CPU what the engine's tensors take.
        host_bytes: Resident host memory of the process, all modes' together.
    """

    cell: int
    repeat: int
    chunk: int
    warm_up: bool
    ms: dict[str, float]
    stall_ms: float
    cpu_ms: float
    device_bytes: int
    host_bytes: int


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """How cells take turns.

    Attributes:
        wanted: Chunks of a rollout that are run, ascending.
        repeats: Rollouts of every cell.
        interleaving: When the next cell has its turn.
        one_layer: Whether all layers share one layer's keys and values.
        decoded_repeats: Rollouts of every cell that are decoded, too, which is the same in every mode; None
            for all.
    """

    wanted: tuple[int, ...]
    repeats: int
    interleaving: Interleaving = "chunk"
    one_layer: bool = False
    decoded_repeats: int | None = None

    def decodes(self, repeat: int) -> bool:
        """Whether a rollout is decoded."""
        return self.decoded_repeats is None or repeat < self.decoded_repeats


Stop = Callable[[], bool]


def probe_chunks(lengths: Sequence[int], *, width: int = PROBE_CHUNKS) -> tuple[int, ...]:
    """The last chunks of rollouts of some lengths."""
    return tuple(sorted({chunk for n in lengths for chunk in range(max(0, n - width), n)}))


def timed_rounds(
    stage: Stage, cells: Sequence[tuple[int, Cell]], rounds: Rounds, *, stop: Stop
) -> Iterator[TimedChunk]:
    """Run all cells' rollouts, taking turns, and tell of every chunk.

    Args:
        stage: The loaded model.
        cells: Numbers and cells.
        rounds: How they take turns.
        stop: Asked before every chunk.
    """
    for repeat in range(rounds.repeats):
        if rounds.interleaving == "chunk":
            running = [_Run(stage, *each, rounds, repeat) for each in cells]
            for at in range(len(rounds.wanted)):
                # Whoever comes after a large window finds the chip's caches full of it: take turns in that.
                for turn in range(len(running)):
                    if stop():
                        return
                    yield running[(turn + at + repeat) % len(running)].step()
            for run in running:
                run.close()
            del running
            continue
        order = [*cells[repeat % len(cells) :], *cells[: repeat % len(cells)]]
        for each in order:
            run = _Run(stage, *each, rounds, repeat)
            for _ in rounds.wanted:
                if stop():
                    return
                yield run.step()
            run.close()
            del run
            release_device(stage.device)


class _Run:
    """One rollout under way."""

    def __init__(self, stage: Stage, number: int, cell: Cell, rounds: Rounds, repeat: int) -> None:
        self._stage, self._number, self._repeat = stage, number, repeat
        self._memory = stage.memory(cell, one_layer=rounds.one_layer)
        self._engine_bytes = stage.model.parameter_bytes + self._memory.device_bytes
        self._results = stage.chunks(cell, self._memory, rounds.wanted)
        self._decoder: Decoder | None = stage.decoder() if rounds.decodes(repeat) else None
        self._done = 0

    def close(self) -> None:
        """Let go of what lies on disk."""
        self._memory.close()

    def step(self) -> TimedChunk:
        """Run the next chunk."""
        cpu = time.process_time()
        result = next(self._results)
        cpu_ms = (time.process_time() - cpu) * 1e3
        decoded = {} if self._decoder is None else {"decode": decode_timed(self._decoder, result)}
        self._done += 1
        timings = result.timings
        return TimedChunk(
            cell=self._number,
            repeat=self._repeat,
            chunk=result.step.chunk,
            warm_up=self._done <= DEFAULT_WARM_UP_CHUNKS and self._repeat == 0,
            ms={
                "retrieve": timings.retrieve_ms,
                "denoise": timings.denoise_ms,
                "commit": timings.commit_ms,
                **decoded,
            },
            stall_ms=timings.stall_ms,
            cpu_ms=cpu_ms,
            device_bytes=device_peak_bytes(self._stage.device, self._engine_bytes),
            host_bytes=resident_bytes(),
        )


def decode_timed(decoder: Decoder, result: ChunkResult) -> float:
    """Milliseconds of decoding; the pictures come back to the host, so that nothing is left to wait for."""
    began = time.perf_counter()
    frames = decoder.push(result.latents)
    elapsed_ms = (time.perf_counter() - began) * 1e3
    if not frames.any():
        log.warning("the pictures of chunk %d are black: numbers are not finite", result.step.chunk)
    return elapsed_ms


def load_average() -> float | None:
    """Processes that want to run, over the last minute; None where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None
