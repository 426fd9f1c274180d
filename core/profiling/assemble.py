"""From everything that was measured to the report and the machine's calibration."""

from __future__ import annotations

import os
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

import torch

from core.calibration import Calibration
from core.config import GenerateConfig
from core.models.registry import model_entry
from core.models.session import Session
from core.models.wan.config import WanConfig
from core.profiling.fit import Sample, fit_calibration
from core.profiling.flops import pass_work
from core.profiling.grid import Planned, cells_of
from core.profiling.limits import Limits
from core.profiling.rounds import TimedChunk
from core.profiling.settings import ProfileSettings
from core.profiling.statistics import Spread
from core.profiling.summary import (
    STAGES,
    chunk_shape,
    chunk_times,
    length_times,
    quartiles,
    ratios,
    roofline,
)
from core.runlog import versions
from core.schemas.profile import (
    CellProfile,
    Fit,
    Hardware,
    Network,
    Overhead,
    ProfileReport,
    Writing,
)
from core.schemas.run import Device


@dataclass
class Measured:
    """All that a profile has measured so far; it grows while it runs.

    Attributes:
        settings: What was asked for.
        session: Of the longest rollout.
        grid: Its cells.
        dtype: Of weights, keys and values.
        load_before: Processes that wanted to run before it began.
        load_after: The same at its end.
        chunks: Every timed chunk.
        overheads: By number of the cell.
        load_s: Seconds by what was loaded.
        interleaving: How cells took turns.
        limits: Rates of the hardware.
        writing: What writing the video takes.
        network: Sizes of the network.
        passes: Denoising passes of a chunk.
    """

    settings: ProfileSettings
    session: Session
    grid: Sequence[Planned]
    dtype: torch.dtype
    load_before: float | None
    load_after: float | None = None
    chunks: list[TimedChunk] = field(default_factory=list)
    overheads: dict[int, Overhead] = field(default_factory=dict)
    load_s: dict[str, float] = field(default_factory=dict)
    interleaving: set[str] = field(default_factory=set)
    limits: Limits | None = None
    writing: Writing | None = None
    network: WanConfig | None = None
    passes: int = 0


def assemble(
    measured: Measured, device: Device, *, began: datetime, config: GenerateConfig, interrupted: bool
) -> tuple[ProfileReport, Calibration | None]:
    """The report, and the calibration if there is enough for one."""
    settings = measured.settings
    on_gpu = not device.name.startswith("cpu")
    cells = tuple(
        _cell(measured, number, planned, on_gpu=on_gpu) for number, planned in enumerate(measured.grid)
    )
    calibration = _calibration(measured, device)
    dtype = str(measured.dtype).removeprefix("torch.")
    report = ProfileReport(
        status="interrupted" if interrupted else "done",
        started_at=began,
        finished_at=datetime.now(UTC),
        model=settings.model,
        random_weights=settings.random_weights,
        scale=settings.scale,
        trajectory=settings.traj,
        config={**_asked(settings), "generate": config.model_dump(mode="json", exclude_defaults=True)},
        versions=versions(),
        device=device,
        dtype=dtype,
        network=_network(measured),
        interleaving="run" if "run" in measured.interleaving else "chunk",
        one_layer=settings.one_layer,
        every_chunk=settings.every_chunk,
        load_average=(measured.load_before, measured.load_after),
        hardware=None if measured.limits is None else Hardware(**asdict(measured.limits)),
        load_s=measured.load_s,
        writing=measured.writing,
        ratios=tuple(ratios(cells, settings.lengths, every_chunk=settings.every_chunk)),
        cells=cells,
        fit=_fit(calibration),
        notes=tuple(_notes(measured)),
    )
    return report, calibration


def _cell(measured: Measured, number: int, planned: Planned, *, on_gpu: bool) -> CellProfile:
    settings, cell = measured.settings, planned.cell
    if cell is None:
        return CellProfile(mode=planned.mode, budget_bytes=planned.budget_bytes, refused=planned.refused)
    timed = [each for each in measured.chunks if each.cell == number]
    chunks = tuple(chunk_times(cell, each) for each in timed)
    warm = [sum(each.ms.values()) for each in timed if each.warm_up]
    lengths = tuple(length_times(cell, chunks, settings.lengths, every_chunk=settings.every_chunk))
    alone = "run" in measured.interleaving or len(cells_of(measured.grid)) == 1
    return CellProfile(
        mode=planned.mode,
        budget_bytes=planned.budget_bytes,
        refused=planned.refused,
        turns=tuple(cell.placement.words),
        window_tokens=cell.plan.window_tokens,
        window_bytes=cell.plan.window_bytes,
        bank_bytes=cell.plan.bank_bytes,
        predicted_bytes=cell.placement.parts.device_bytes,
        peak_bytes=max(each.device_bytes for each in timed) if alone and timed and on_gpu else None,
        warm_up_ms=quartiles(Spread.of(warm)),
        lengths=lengths,
        roofline=None
        if measured.network is None or measured.limits is None or not lengths
        else roofline(
            cell,
            measured.network,
            measured.limits,
            passes=measured.passes,
            chunk=lengths[-1].chunks - 1,
            measured_ms=lengths[-1].chunk_ms.median,
        ),
        overhead=measured.overheads.get(number),
        chunks=chunks,
    )


def _network(measured: Measured) -> Network | None:
    net, views = measured.network, measured.session.viewpoints
    if net is None:
        return None
    return Network(
        num_parameters=net.num_parameters,
        num_layers=net.num_layers,
        dim=net.dim,
        num_heads=net.num_heads,
        tokens_per_frame=views.tokens_per_frame,
        chunk_frames=views.chunk_frames,
        passes=measured.passes,
        frame_size=measured.session.frame_size,
    )


def samples_of(measured: Measured) -> Iterator[Sample]:
    """Every chunk at its fastest, without the warm-up, of the cells that are turned as the first one is."""
    turns = cells_of(measured.grid)[0].placement.turns
    found = defaultdict[tuple[int, int], list[TimedChunk]](list)
    for timed in measured.chunks:
        if not timed.warm_up:
            found[timed.cell, timed.chunk].append(timed)
    for (number, chunk), some in sorted(found.items()):
        cell = measured.grid[number].cell
        if cell is not None and cell.placement.turns == turns:
            fastest = {f"{stage}_ms": min(each.ms[stage] for each in some) for stage in STAGES[:3]}
            yield Sample(plan=cell.plan, chunk=chunk, **fastest)


def _calibration(measured: Measured, device: Device) -> Calibration | None:
    cells, net = cells_of(measured.grid), measured.network
    if net is None or measured.limits is None:
        return None
    shape = chunk_shape(cells[0], net, measured.settings.num_chunks - 1)
    work = pass_work(net, shape)
    own = 4 * shape.tokens * net.dim * shape.keys * net.num_layers  # self-attention
    between = [overhead.between_ms / (measured.passes + 1) for overhead in measured.overheads.values()]
    session, entry = measured.session, model_entry(measured.settings.model)
    width, height = session.frame_size
    frames = entry.later_chunk_frames(session.viewpoints.chunk_frames)
    decoded = [
        each.ms["decode"]
        for each in measured.chunks
        if "decode" in each.ms and not each.warm_up and each.chunk > 0
    ]
    writing, random = measured.writing, measured.settings.random_weights
    loaded = sum(s for what, s in measured.load_s.items() if what in ("weights", "transformer"))
    written_mp = 0.0 if writing is None else writing.width * writing.height / 1e6
    return fit_calibration(
        list(samples_of(measured)),
        passes=measured.passes,
        token_flops=(work.flops - own) / shape.tokens,
        overhead_ms=statistics.median(between) if between else 0.0,
        model=measured.settings.model_key,
        device_name=device.model,
        dtype=str(measured.dtype).removeprefix("torch."),
        torch_version=versions()["torch"].partition("+")[0],
        threads=device.threads,
        cores=os.cpu_count() if device.threads else None,
        made_at=datetime.now(UTC),
        worldkv_version=versions()["worldkv"],
        num_chunks=1 + max((each.chunk for each in measured.chunks), default=0),
        repeats=measured.settings.repeats,
        modes=tuple(dict.fromkeys(cell.mode for cell in cells)),
        turns=cells[0].placement.turns.words,
        decode_ms_per_megapixel=statistics.median(decoded or [0.0]) / (frames * width * height / 1e6),
        write_ms_per_megapixel=0.0 if writing is None else writing.frame_ms / written_mp,
        encode_ms_per_megapixel=0.0 if writing is None else writing.encoded_frame_ms / written_mp,
        write_fixed_ms=0.0 if writing is None else writing.fixed_ms,
        display_scale=session.default_scale,
        video_stride=entry.video_stride,
        load_s=0.0 if random else loaded,
        encode_s=0.0 if random else sum(measured.load_s.values()) - loaded,
    )


def _fit(calibration: Calibration | None) -> Fit | None:
    if calibration is None:
        return None
    return Fit(
        fitted_chunks=calibration.fitted_chunks,
        held_out_chunks=calibration.held_out_chunks,
        median_error=calibration.median_error,
        largest_error=calibration.largest_error,
    )


def _asked(settings: ProfileSettings) -> dict[str, object]:
    asked = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(settings).items()}
    return asked | {"settings": {k: str(v) for k, v in settings.settings.items() if v is not None}}


def _notes(measured: Measured) -> Iterator[str]:
    """What the reader of the figures should know."""
    settings = measured.settings
    if "sliding" in settings.modes and "worldkv" in settings.modes and not settings.own_window:
        yield "sliding sees as many tokens as worldkv"
    if settings.one_layer:
        yield "all layers share one layer's keys and values: times are real, memory is not"
    if not settings.every_chunk:
        yield "chunks between the measured ones were jumped over, with noise in the window"
    if "run" in measured.interleaving:
        yield "modes do not fit side by side: they took turns after every rollout"
    busy = max((load for load in (measured.load_before, measured.load_after) if load), default=0.0)
    if busy > 2 * torch.get_num_threads():
        yield f"the machine was busy (load {busy:.1f} for {torch.get_num_threads()} threads)"
    yield from measured.session.notes
