"""From timed chunks to medians with their spread, ratios and the share of the hardware's limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

from core.models.wan.clip_config import CLIP_VIT_H
from core.models.wan.config import WanConfig
from core.profiling.engine import Cell
from core.profiling.flops import ChunkShape, chunk_work
from core.profiling.limits import Limits
from core.profiling.rounds import PROBE_CHUNKS, TimedChunk
from core.profiling.statistics import Spread, paired_ratio
from core.schemas.profile import CellProfile, ChunkTimes, LengthTimes, Quartiles, Ratio, Roofline

MOST_PROBED = 5
"""Chunks before a length whose times make its median, where every chunk is run."""

STAGES = ("retrieve", "denoise", "commit", "decode")
AGAINST = ("full", "sliding", "sink")
"""Modes that worldkv is compared with."""


def quartiles(spread: Spread | None) -> Quartiles | None:
    """For the report."""
    return None if spread is None else Quartiles(**asdict(spread))


def chunk_times(cell: Cell, timed: TimedChunk) -> ChunkTimes:
    """For the report."""
    return ChunkTimes(
        repeat=timed.repeat,
        chunk=timed.chunk,
        warm_up=timed.warm_up,
        window_tokens=cell.plan.visible_tokens(cell.plan.steps[timed.chunk]),
        retrieve_ms=timed.ms["retrieve"],
        denoise_ms=timed.ms["denoise"],
        commit_ms=timed.ms["commit"],
        decode_ms=timed.ms.get("decode"),
        stall_ms=timed.stall_ms,
        cpu_ms=timed.cpu_ms,
        kv_bytes=kv_bytes(cell, timed.chunk),
        device_bytes=timed.device_bytes,
        host_bytes=timed.host_bytes,
    )


def before(length: int, chunks: Sequence[ChunkTimes], *, every_chunk: bool) -> list[ChunkTimes]:
    """Chunks on which the figures of a rollout length stand, in order of rollouts."""
    width = MOST_PROBED if every_chunk else PROBE_CHUNKS
    return [each for each in chunks if length - width <= each.chunk < length and not each.warm_up]


def length_times(
    cell: Cell, chunks: Sequence[ChunkTimes], lengths: Sequence[int], *, every_chunk: bool
) -> Iterator[LengthTimes]:
    """Medians just before each length that was reached."""
    for length in lengths:
        some = before(length, chunks, every_chunk=every_chunk)
        whole, cpu = (
            quartiles(Spread.of(values)) for values in ([c.chunk_ms for c in some], [c.cpu_ms for c in some])
        )
        if whole is None or cpu is None:
            continue
        stages = {stage: quartiles(Spread.of(_taken(some, stage))) for stage in STAGES}
        step = cell.plan.steps[length - 1]
        yield LengthTimes(
            chunks=length,
            window_tokens=cell.plan.visible_tokens(step),
            kv_bytes=max(kv_bytes(cell, chunk) for chunk in range(length)),
            stages_ms={stage: found for stage, found in stages.items() if found is not None},
            chunk_ms=whole,
            cpu_ms=cpu,
        )


def _taken(some: Sequence[ChunkTimes], stage: str) -> list[float]:
    values = (getattr(each, f"{stage}_ms") for each in some)
    return [value for value in values if value is not None]


def kv_bytes(cell: Cell, chunk: int) -> int:
    """Bytes of keys and values in window and bank that are in use during a chunk."""
    step = cell.plan.steps[chunk]
    window = cell.plan.visible_tokens(step) * cell.plan.footprint.kv_bytes_per_token
    return window + step.bank_tokens_live * cell.plan.bank_token_bytes


def ratios(cells: Sequence[CellProfile], lengths: Sequence[int], *, every_chunk: bool) -> Iterator[Ratio]:
    """Memory mode worldkv against the others, and each mode's last chunks against its first."""
    reached = [cell for cell in cells if cell.chunks]
    for ours in (cell for cell in reached if cell.mode == "worldkv"):
        for name in AGAINST:
            other = next((c for c in reached if (c.mode, c.budget_bytes) == (name, ours.budget_bytes)), None)
            if other is None:
                continue
            for length in lengths:
                a, b = (before(length, c.chunks, every_chunk=every_chunk) for c in (ours, other))
                yield from _ratio(ours, name, length, *_met(a, b))
    if len(lengths) > 1:
        for cell in reached:
            first, last = (
                before(length, cell.chunks, every_chunk=every_chunk) for length in (lengths[0], lengths[-1])
            )
            shift = lengths[-1] - lengths[0]
            yield from _ratio(cell, f"chunk {lengths[0]}", lengths[-1], *_met(last, first, shift=shift))


def _met(
    a: Sequence[ChunkTimes], b: Sequence[ChunkTimes], *, shift: int = 0
) -> tuple[list[ChunkTimes], list[ChunkTimes]]:
    """Chunks of two modes in the same round; or of one, as far before a late as before an early length."""
    others = {(each.repeat, each.chunk + shift): each for each in b}
    both = [each for each in a if (each.repeat, each.chunk) in others]
    return both, [others[each.repeat, each.chunk] for each in both]


def _ratio(
    cell: CellProfile, to: str, length: int, a: Sequence[ChunkTimes], b: Sequence[ChunkTimes]
) -> Iterator[Ratio]:
    def of(take: Callable[[ChunkTimes], float]) -> Quartiles | None:
        return quartiles(paired_ratio([take(each) for each in a], [take(each) for each in b]))

    value, cpu = of(lambda each: each.chunk_ms), of(lambda each: each.cpu_ms)
    if value is not None and cpu is not None:
        yield Ratio(of=cell.mode, to=to, budget_bytes=cell.budget_bytes, chunks=length, value=value, cpu=cpu)


def roofline(
    cell: Cell, net: WanConfig, limits: Limits, *, passes: int, chunk: int, measured_ms: float
) -> Roofline:
    """What a chunk must do, against what the hardware can do."""
    shape = chunk_shape(cell, net, chunk)
    work, step, plan = chunk_work(net, shape, passes=passes), cell.plan.steps[chunk], cell.plan
    moved = 2 * (step.num_inserted + step.num_stored) * plan.footprint.kv_bytes_per_token
    least_ms = 1e3 * max(work.flops / limits.flops_per_s, (work.num_bytes + moved) / limits.copy_bytes_per_s)
    return Roofline(
        flops=work.flops,
        attention_flops=work.attention_flops,
        read_bytes=work.num_bytes,
        moved_bytes=moved,
        least_ms=least_ms,
        measured_ms=measured_ms,
        share=least_ms / measured_ms if measured_ms > 0 else 0.0,
    )


def chunk_shape(cell: Cell, net: WanConfig, chunk: int) -> ChunkShape:
    """What decides the work of a chunk."""
    plan, frames = cell.plan, cell.plan.layout.chunk_frames
    context = net.text_tokens if net.text_dim else CLIP_VIT_H.num_tokens if net.image_dim else 0
    return ChunkShape(
        tokens=plan.layout.tokens_per_chunk,
        frames=frames,
        keys=plan.visible_tokens(plan.steps[chunk]),
        context_tokens=context,
        action_frames=min(cell.session.trained_frames, (chunk + 1) * frames),
        element_bytes=plan.footprint.kv_element_bytes,
    )
