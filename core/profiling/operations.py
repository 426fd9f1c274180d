"""Where a chunk's time goes: products, attention, and all the rest by what it is for. Also traces."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import torch
from torch._C._autograd import DeviceType
from torch._ops import OpOverload
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from core.errors import OutputError
from core.profiling.engine import Cell, Stage
from core.profiling.kinds import ATTENTION, BETWEEN, PRODUCTS, Place, kind_of, place_of
from core.rollout import ChunkResult
from core.schemas.profile import Operation, Overhead

NUM_LARGEST: Final = 3
REPEATS: Final = 3
NEAR: Final = 8
"""Operations that notes of another run are searched ahead."""

LONG_S: Final = 4.0
"""A chunk that takes so long is looked at once."""


@dataclass(frozen=True)
class Taken:
    """What one kind of work took in one chunk."""

    ms: float
    calls: int


def measure_overhead(stage: Stage, cell: Cell, chunk: int, *, one_layer: bool = False) -> Overhead:
    """Run one chunk of a rollout a few times, with and without the profiler in turns.

    The profiler slows small operations down, so the chunk's time is taken without it. Of every figure it is
    the least: others use the machine, too, and can only add to it.

    Args:
        stage: The loaded model.
        cell: Whose memory.
        chunk: Which; the one before is run first each time, so that it retrieves what it would.
        one_layer: Whether all layers share one layer's keys and values.
    """
    memory = stage.memory(cell, one_layer=one_layer)
    before = max(0, chunk - 1)
    results = stage.chunks(cell, memory, (before, chunk) * (2 * REPEATS + 1))
    next(results)
    with Askers() as askers:
        next(results)
    plain, looked = [], []
    for _ in range(REPEATS):
        next(results)
        profiler, elapsed_ms = _profiled(stage, results)
        looked.append(_by_kind(profiler, askers.found, on_device=stage.device.type == "cuda"))
        if elapsed_ms > LONG_S * 1e3:
            plain.append(elapsed_ms)
            break
        next(results)
        plain.append(_elapsed_ms(stage, results))
    memory.close()
    return _overhead(chunk, min(plain), _least(looked))


class Askers(TorchDispatchMode):
    """Notes who asks for an operation: its name, and the innermost line of the engine.

    Attributes:
        found: One for each operation, in order.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[tuple[str, Place | None]] = []
        self._places: dict[CodeType, Place | None] = {}

    def __torch_dispatch__(
        self,
        func: OpOverload[..., object],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Note it and do it."""
        del types
        frame: FrameType | None = sys._getframe(1)
        place: Place | None = None
        while frame is not None and place is None:
            code = frame.f_code
            if code not in self._places:  # there are few, asked for often
                self._places[code] = place_of(code.co_filename, code.co_name)
            place = self._places[code]
            frame = frame.f_back
        self.found.append((func.name().partition(".")[0], place))
        return func(*args, **(kwargs or {}))


def _overhead(chunk: int, chunk_ms: float, taken: Mapping[str, Taken]) -> Overhead:
    busy = sum(each.ms for each in taken.values())
    products, attention = (taken.get(kind, Taken(0.0, 0)).ms for kind in (PRODUCTS, ATTENTION))
    between = max(0.0, chunk_ms - busy)
    rest = {kind: each for kind, each in taken.items() if kind not in (PRODUCTS, ATTENTION)}
    largest = sorted({**rest, BETWEEN: Taken(between, 1)}.items(), key=lambda each: -each[1].ms)
    return Overhead(
        chunk=chunk,
        chunk_ms=chunk_ms,
        product_ms=products,
        attention_ms=attention,
        between_ms=between,
        outside_share=max(0.0, 1 - (attention + products) / chunk_ms),
        largest=tuple(
            Operation(name=kind, ms=each.ms, share=each.ms / chunk_ms, calls=each.calls)
            for kind, each in largest[:NUM_LARGEST]
        ),
    )


def write_trace(stage: Stage, cell: Cell, chunk: int, path: Path, *, one_layer: bool = False) -> None:
    """Write what one chunk did, operation by operation, for chrome://tracing or Perfetto.

    Raises:
        OutputError: It cannot be written.
    """
    memory = stage.memory(cell, one_layer=one_layer)
    results = stage.chunks(cell, memory, (max(0, chunk - 1), chunk))
    next(results)
    profiler, _ = _profiled(stage, results, shapes=True)
    memory.close()
    try:
        profiler.export_chrome_trace(str(path))
    except (OSError, RuntimeError) as error:
        raise OutputError(f"the trace cannot be written: {error}", where=str(path)) from error


def _profiled(stage: Stage, results: Iterator[ChunkResult], *, shapes: bool = False) -> tuple[Any, float]:
    """The profiler of the next chunk, and the milliseconds that it took."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler writes to stderr
    activities = [ProfilerActivity.CPU]
    if stage.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities, record_shapes=shapes, acc_events=True) as profiler:
        elapsed_ms = _elapsed_ms(stage, results)
    return profiler, elapsed_ms


def _elapsed_ms(stage: Stage, results: Iterator[ChunkResult]) -> float:
    _wait(stage.device)
    began = time.perf_counter()
    next(results)
    _wait(stage.device)
    return (time.perf_counter() - began) * 1e3


def _by_kind(
    profiler: Any,  # noqa: ANN401 - torch does not name its class
    askers: Sequence[tuple[str, Place | None]],
    *,
    on_device: bool,
) -> dict[str, Taken]:
    """Self times of torch's operations; a kernel of a GPU is an event, too, but its time is in theirs."""
    events = [
        event for event in profiler.events() if event.device_type == DeviceType.CPU and "::" in event.name
    ]
    tops = sorted((each for each in events if _top(each) is each), key=lambda each: each.time_range.start)
    places = dict(zip(map(id, tops), _places([each.name for each in tops], askers), strict=True))
    kinds: dict[tuple[str, Place | None], str] = {}
    ms, calls = defaultdict[str, float](float), Counter[str]()
    for event in events:
        taken = event.self_device_time_total if on_device else event.self_cpu_time_total
        if taken > 0:
            what = event.name, places[id(_top(event))]
            kind = kinds[what] = kinds.get(what) or kind_of(*what)
            ms[kind] += taken / 1e3
            calls[kind] += 1
    return {kind: Taken(ms[kind], calls[kind]) for kind in ms}


def _places(names: Sequence[str], askers: Sequence[tuple[str, Place | None]]) -> Iterator[Place | None]:
    """Who asked for each operation of one run, by the notes of another.

    Looking on adds a few operations to a run; they are skipped. What is in none of the notes belongs to
    whoever asked last.
    """
    at, place = 0, None
    for name in names:
        near = (at + i for i, (noted, _) in enumerate(askers[at : at + NEAR]) if noted == name)
        found = next(near, None)
        if found is not None:
            place, at = askers[found][1], found + 1
        yield place


def _top(event: Any) -> Any:  # noqa: ANN401 - torch does not name its class
    """The operation that the engine asked for, of which this one is a part."""
    while event.cpu_parent is not None and "::" in event.cpu_parent.name:
        event = event.cpu_parent
    return event


def _least(looked: Sequence[Mapping[str, Taken]]) -> dict[str, Taken]:
    """Every kind in the run in which it took least."""
    kinds = {kind for found in looked for kind in found}
    return {kind: min((found[kind] for found in looked if kind in found), key=_ms_of) for kind in kinds}


def _ms_of(taken: Taken) -> float:
    return taken.ms


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
