"""Where a chunk's time goes: products, attention, and all the rest. Also traces for a viewer."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch.profiler import ProfilerActivity, profile

from core.errors import OutputError
from core.profiling.engine import Cell, Stage
from core.schemas.profile import Operation, Overhead

_ATTENTION: Final = ("attention", "softmax", "flash", "fmha")
_PRODUCTS: Final = ("mm", "conv", "mkldnn_linear", "gemm", "cutlass", "xmma", "linear", "dot")
NUM_LARGEST: Final = 3


def measure_overhead(stage: Stage, cell: Cell, chunk: int, *, one_layer: bool = False) -> Overhead:
    """Run one chunk of a rollout under the profiler.

    Args:
        stage: The loaded model.
        cell: Whose memory.
        chunk: Which; the one before is run first, so that nothing is new.
        one_layer: Whether all layers share one layer's keys and values.
    """
    profiler, elapsed_ms = _profiled(stage, cell, chunk, one_layer=one_layer)
    on_device = stage.device.type == "cuda"
    taken = [
        (event.key, _self_ms(event, on_device=on_device), event.count) for event in profiler.key_averages()
    ]
    taken = [(name, ms, count) for name, ms, count in taken if ms > 0]
    attention = sum(ms for name, ms, _ in taken if _is(name, _ATTENTION))
    products = sum(ms for name, ms, _ in taken if _is(name, _PRODUCTS) and not _is(name, _ATTENTION))
    busy = sum(ms for _, ms, _ in taken)
    between = max(0.0, elapsed_ms - busy)
    rest = [each for each in taken if not _is(each[0], (*_ATTENTION, *_PRODUCTS))]
    rest.append(("between operations", between, 1))
    largest = sorted(rest, key=lambda each: -each[1])[:NUM_LARGEST]
    return Overhead(
        chunk=chunk,
        chunk_ms=elapsed_ms,
        product_ms=products,
        attention_ms=attention,
        between_ms=between,
        outside_share=max(0.0, 1 - (attention + products) / elapsed_ms),
        largest=tuple(
            Operation(name=name, ms=ms, share=ms / elapsed_ms, calls=count) for name, ms, count in largest
        ),
    )


def write_trace(stage: Stage, cell: Cell, chunk: int, path: Path, *, one_layer: bool = False) -> None:
    """Write what one chunk did, operation by operation, for chrome://tracing or Perfetto.

    Raises:
        OutputError: It cannot be written.
    """
    profiler, _ = _profiled(stage, cell, chunk, one_layer=one_layer, shapes=True)
    try:
        profiler.export_chrome_trace(str(path))
    except (OSError, RuntimeError) as error:
        raise OutputError(f"the trace cannot be written: {error}", where=str(path)) from error


def _profiled(
    stage: Stage, cell: Cell, chunk: int, *, one_layer: bool, shapes: bool = False
) -> tuple[Any, float]:
    """The profiler of one chunk, without loading and decoding, and the milliseconds that it took."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler writes to stderr
    activities = [ProfilerActivity.CPU]
    if stage.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    results = stage.chunks(cell, stage.memory(cell, one_layer=one_layer), (max(0, chunk - 1), chunk))
    next(results)
    with profile(activities=activities, record_shapes=shapes, acc_events=True) as profiler:
        _wait(stage.device)
        began = time.perf_counter()
        next(results)
        _wait(stage.device)
        elapsed_ms = (time.perf_counter() - began) * 1e3
    return profiler, elapsed_ms


def _self_ms(event: Any, *, on_device: bool) -> float:  # noqa: ANN401 - torch does not name its class
    taken = event.self_device_time_total if on_device else event.self_cpu_time_total
    return float(taken) / 1e3


def _is(name: str, kinds: Sequence[str]) -> bool:
    return any(kind in name for kind in kinds)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
