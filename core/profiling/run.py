"""A whole profile: plan the grid, load, take turns, look where the time went, calibrate the machine."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from core.calibration import Calibration
from core.config import GenerateConfig, resolve
from core.hardware import budgets, device_info, pick_device, pick_dtype, release_device
from core.models.registry import model_entry
from core.models.session import OnLoad, Session
from core.profiling.assemble import Measured, assemble
from core.profiling.engine import Cell, Stage, load_timed, open_session
from core.profiling.grid import Planned, plan_grid
from core.profiling.limits import measure_limits
from core.profiling.operations import measure_overhead, write_trace
from core.profiling.rounds import (
    Interleaving,
    Rounds,
    Stop,
    load_average,
    probe_chunks,
    timed_rounds,
)
from core.profiling.settings import ProfileSettings
from core.profiling.sizes import RELEASED_SIZES
from core.profiling.writing import measure_writing
from core.schemas.profile import ProfileReport

USABLE_SHARE = 0.8
"""Of free memory, what modes side by side may take."""

ENTIRE = "weights"
"""What is loaded where a model does not tell of its parts."""


@dataclass(frozen=True)
class Watch:
    """Who is told how far it is.

    Attributes:
        on_load: Told while weights load, as `worldkv generate` does.
        on_chunk: Told of every chunk: how many are done, of how many, and which mode's it was.
        on_step: Told what comes next.
    """

    on_load: OnLoad = lambda *_: None
    on_chunk: Callable[[int, int, str], None] = lambda *_: None
    on_step: Callable[[str], None] = lambda _: None


@dataclass
class _Progress:
    """What is measured so far."""

    measured: Measured
    done: int = 0
    total: int = 0
    interrupted: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a profile found."""

    report: ProfileReport
    calibration: Calibration | None


@dataclass(frozen=True)
class _Bench:
    """What all groups of cells share."""

    settings: ProfileSettings
    device: torch.device
    dtype: torch.dtype
    config: GenerateConfig
    watch: Watch
    stop: Stop
    traces: Path | None = None
    began: datetime = field(default_factory=lambda: datetime.now(UTC))


def run_profile(
    settings: ProfileSettings,
    env: Mapping[str, str],
    *,
    watch: Watch | None = None,
    stop: Stop = lambda: False,
    traces: Path | None = None,
) -> Outcome:
    """Measure everything that the settings ask for.

    Args:
        settings: The grid.
        env: The environment, for settings of `generate`.
        watch: Who is told how far it is.
        stop: Asked before every chunk; what is measured by then is told.
        traces: Folder of the traces.

    Raises:
        InputError: Settings are wrong.
        ModelFilesError: Model files are missing or wrong.
    """
    watch = watch or Watch()
    with first_picture(settings) as picture:
        flags = {**settings.settings, **picture}
        config = resolve({"model": settings.model, **flags}, env).config
        device = pick_device(config.device)
        dtype = pick_dtype(config.dtype, device)
        bench = _Bench(settings, device, dtype, config, watch, stop, traces)
        watch.on_step("planning")
        session = open_session(settings, flags, env)
        session.check_files()
        grid = plan_grid(settings, session, flags, env, device=device, dtype=dtype)
        return _measure(bench, session, grid)


def _measure(bench: _Bench, session: Session, grid: Sequence[Planned]) -> Outcome:
    settings = bench.settings
    wanted = _wanted(settings)
    fitting = [each for each in grid if each.cell is not None]
    measured = Measured(settings, session, grid, bench.dtype, load_average())
    progress = _Progress(measured, total=len(fitting) * len(wanted) * settings.repeats)
    try:
        for group in _by_placement(grid):
            if bench.stop():
                break
            _measure_group(bench, group, progress, wanted)
    except KeyboardInterrupt:  # the second Ctrl-C: what is measured is told all the same
        progress.interrupted = True
    if bench.stop() and progress.done < progress.total:
        progress.interrupted = True
    measured.load_after = load_average()
    return Outcome(
        *assemble(
            measured,
            device_info(bench.device),
            began=bench.began,
            config=bench.config,
            interrupted=progress.interrupted,
        )
    )


def _measure_group(
    bench: _Bench, group: Sequence[tuple[int, Cell]], progress: _Progress, wanted: tuple[int, ...]
) -> None:
    """All cells that want the weights in the same place."""
    settings, measured = bench.settings, progress.measured
    stage = _load(bench, group[0][1], measured)
    if measured.limits is None:
        bench.watch.on_step("rates of the hardware")
        measured.limits = measure_limits(bench.device, bench.dtype)
        measured.network, measured.passes = stage.network, stage.passes
    rounds = Rounds(
        wanted=wanted,
        repeats=settings.repeats,
        interleaving=_interleaving(bench, [cell for _, cell in group]),
        one_layer=settings.one_layer,
        decoded_repeats=None if settings.every_chunk else 1,
    )
    measured.interleaving.add(rounds.interleaving)
    bench.watch.on_step("chunks")
    for timed in timed_rounds(stage, group, rounds, stop=bench.stop):
        measured.chunks.append(timed)
        progress.done += 1
        bench.watch.on_chunk(progress.done, progress.total, measured.grid[timed.cell].mode)
    if not bench.stop():
        _look_closer(bench, stage, group, measured)


def _look_closer(bench: _Bench, stage: Stage, group: Sequence[tuple[int, Cell]], measured: Measured) -> None:
    """Where one chunk's time goes, the traces, and writing."""
    last, one_layer = bench.settings.num_chunks - 1, bench.settings.one_layer
    for number, cell in group:
        if bench.stop():
            return
        bench.watch.on_step(f"operations of {cell.mode}")
        measured.overheads[number] = measure_overhead(stage, cell, last, one_layer=one_layer)
        for chunk in bench.settings.trace if bench.traces is not None else ():
            path = (bench.traces or Path()) / f"trace-{number}-{cell.mode}-{chunk}.json"
            write_trace(stage, cell, chunk, path, one_layer=one_layer)
    if measured.writing is None:
        bench.watch.on_step("writing")
        cell = group[0][1]
        memory = stage.memory(cell, one_layer=one_layer)
        frames = stage.decoder().push(next(stage.chunks(cell, memory, (0,))).latents)[0]
        entry, session = model_entry(bench.settings.model), cell.session
        measured.writing = measure_writing(
            frames,
            session.default_scale,
            session.trajectory.fps,
            chunk_frames=entry.later_chunk_frames(session.viewpoints.chunk_frames),
        )


def _load(bench: _Bench, cell: Cell, measured: Measured) -> Stage:
    """Load the model, and note what that takes."""
    gc.collect()
    release_device(bench.device)
    marks = [(ENTIRE, time.perf_counter())]

    def told(what: str, done_bytes: int, total_bytes: int) -> None:
        if bench.stop():
            raise KeyboardInterrupt
        if marks[-1][0] != what:
            marks.append((what, time.perf_counter()))
        bench.watch.on_load(what, done_bytes, total_bytes)

    stage = load_timed(cell, bench.device, bench.dtype, told, bench.traces)
    marks.append(("", time.perf_counter()))
    if not measured.load_s:
        for (what, began), (_, ended) in pairwise(marks):
            if what != ENTIRE or len(marks) == 2:
                measured.load_s[what] = measured.load_s.get(what, 0.0) + ended - began
    return stage


def _by_placement(grid: Sequence[Planned]) -> list[list[tuple[int, Cell]]]:
    """Cells that can share one loaded model, in the order of the grid."""
    groups: dict[object, list[tuple[int, Cell]]] = {}
    for number, planned in enumerate(grid):
        if planned.cell is not None:
            turns = planned.cell.placement.turns
            key = (turns.weights, turns.camera_ready, turns.decode_tile)
            groups.setdefault(key, []).append((number, planned.cell))
    return list(groups.values())


def _interleaving(bench: _Bench, cells: Sequence[Cell]) -> Interleaving:
    """After every chunk if all windows and banks find room side by side."""
    if bench.settings.one_layer or len(cells) == 1:
        return "chunk"
    if bench.device.type == "cuda":
        room: int | None = torch.cuda.mem_get_info(bench.device)[0]
    else:
        room = budgets(bench.config, bench.device).host
    wanted = sum(cell.memory_bytes for cell in cells)
    return "chunk" if room is None or wanted <= USABLE_SHARE * room else "run"


def _wanted(settings: ProfileSettings) -> tuple[int, ...]:
    if settings.every_chunk:
        return tuple(range(settings.num_chunks))
    return probe_chunks(settings.lengths)


@contextmanager
def first_picture(settings: ProfileSettings) -> Iterator[dict[str, Any]]:
    """A picture of noise for a checkpoint that wants one; times do not depend on what it shows."""
    needed = settings.model in RELEASED_SIZES and not settings.random_weights
    if not needed or settings.settings.get("image") is not None:
        yield {}
        return
    width, height = RELEASED_SIZES[settings.model]
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory(prefix="worldkv-profile-") as folder:
        path = Path(folder) / "noise.png"
        Image.fromarray(noise).save(path)
        yield {"image": path}
