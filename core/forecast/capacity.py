"""How long a rollout of a model could be on this machine, without planning one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from core.choose_placement import with_window
from core.config import GenerateConfig, Resolved
from core.elements import Element
from core.fitting import Remembered, remember, settle
from core.memory.layout import MemoryMode
from core.models.outline import Outline
from core.models.registry import ModelEntry
from core.placement import Budgets, NoRoomError
from core.script import Script
from trajectories import parse

PROBE_CHUNKS: Final = 48
"""Of the rollout that is planned: enough to fill every window, and for pictures to settle."""

_BOUNDLESS: Final = 1 << 50


@dataclass(frozen=True)
class Capacity:
    """What a model could do in a memory mode.

    Attributes:
        model: The model.
        memory: The memory mode.
        fits: Whether any rollout fits that fills the window.
        chunks: The longest one that is sure to fit; None if memory does not grow with it.
        seconds: Of its video at 16 frames a second; None likewise.
        short_bytes: What is missing, where none fits.
        short_of: Of which memory.
    """

    model: str
    memory: str
    fits: bool
    chunks: int | None = None
    seconds: float | None = None
    short_bytes: int = 0
    short_of: str = ""


def capacities(entry: ModelEntry, limits: Budgets, dtype: Element) -> tuple[Capacity, ...]:
    """Every memory mode of a model; a checkpoint need not be there.

    Mode worldkv is taken at its worst: everything that was seen is seen again at the end.

    Args:
        entry: The model.
        limits: What there is.
        dtype: Of weights, keys and values.
    """
    script = _standing_still(entry)
    return tuple(_capacity(entry, script, mode, limits, dtype) for mode in MemoryMode)


def _capacity(
    entry: ModelEntry, script: Script, mode: MemoryMode, limits: Budgets, dtype: Element
) -> Capacity:
    config = GenerateConfig(model=entry.name, memory=mode.value)
    outline = entry.outliner()(config, script)
    known = remember(Resolved(config, {}), outline, dtype)
    if mode in (MemoryMode.FULL, MemoryMode.WORLDKV):
        chunks = _longest(outline, known, limits, dtype)
        if chunks > 0:
            frames = entry.first_chunk_frames(script.chunk_frames)
            frames += (chunks - 1) * entry.later_chunk_frames(script.chunk_frames)
            return Capacity(entry.name, mode.value, True, chunks, frames / script.trajectory.fps)
    try:
        settle(config, outline, known, limits, dtype)
    except NoRoomError as error:
        least = error.least
        over = least.over_device
        needed = least.device_bytes if over else least.parts.host_bytes
        budget = (limits.device if over else limits.host) or 0
        missing, kind = max(needed - budget, 0), "device" if over else "host"
        return Capacity(entry.name, mode.value, False, short_bytes=missing, short_of=kind)
    return Capacity(entry.name, mode.value, True)


def _longest(outline: Outline, known: Remembered, limits: Budgets, dtype: Element) -> int:
    """Chunks for which there is room whatever the camera does, over all turns; 0 or less if there is none."""
    plan, best = known.plan, 0
    layout = plan.layout
    full = layout.mode is MemoryMode.FULL
    for _, parts in outline.options(plan, dtype):
        base = with_window(parts, plan, sink_follows=known.sink_follows)
        device = _left(limits.device, limits.reserve + base.running_bytes)
        host = _left(limits.host, sum(base.host.values()))
        loading = _left(limits.device, limits.reserve + base.device_bytes)
        if min(host, loading if not full else 0) < 0:
            continue
        if full:  # all of it is the window's, in which the probe's chunks are already
            best = max(best, layout.num_chunks + device // (layout.tokens_per_chunk * _kv_bytes(known)))
        elif device >= 0:
            best = max(best, (device + host) // (layout.tokens_per_chunk * plan.bank_token_bytes))
    return int(best)


def _kv_bytes(known: Remembered) -> int:
    return known.plan.footprint.kv_bytes_per_token


def _left(budget: int | None, taken: int) -> int:
    return _BOUNDLESS if budget is None else budget - taken


def _standing_still(entry: ModelEntry) -> Script:
    """A rollout of `PROBE_CHUNKS` chunks of one view."""
    chunk_frames = entry.pick_chunk_frames(None, where="--chunk-frames")
    first, later = entry.first_chunk_frames(chunk_frames), entry.later_chunk_frames(chunk_frames)
    frames = first + (PROBE_CHUNKS - 1) * later
    text = f"version: 1\nfps: 16\nsteps: [{{hold: {{frames: {frames}}}}}]\n"
    trajectory = parse(text, source="worldkv doctor", name="still")
    whole, _ = trajectory.fit_chunks(first_frames=first, later_frames=later, how="cut")
    return Script(whole, trajectory, chunk_frames)
