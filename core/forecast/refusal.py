"""A rollout that does not fit: what is short, how far it would get, and which change of the command fits.

Every change that is named has been planned with; none is guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from core.config import GenerateConfig, Resolved
from core.errors import BudgetError, InputError
from core.fitting import Remembered, remember, settle
from core.forecast.target import Machine
from core.memory.plan import MemoryPlan
from core.memory.residency import BankUse
from core.models.outline import Outline
from core.models.registry import model_entry
from core.placement import GIB, Budgets, NoRoomError, Placement
from core.schemas.forecast import Refusal, Rollout, Way
from core.script import Script

MOST_WAYS = 4
"""That are named: the first ones cost least."""

_REMEMBERED = frozenset({"memory", "retrieve", "keep_ratio"})
"""Settings that change what is remembered."""

_BOUNDLESS = 1 << 60
_BUDGET_FLAGS = {"device": "--vram-budget", "host": "--ram-budget", "disk": "--disk-budget"}
FIDELITY = "some fidelity"
MEMORY = "what the rollout remembers"


@dataclass(frozen=True)
class Case:
    """What does not fit.

    Attributes:
        resolved: Settings.
        script: What would be shown.
        outline: The rollout.
        machine: Where.
        remembered: Its memory, whatever room there is.
    """

    resolved: Resolved
    script: Script
    outline: Outline
    machine: Machine
    remembered: Remembered

    @property
    def config(self) -> GenerateConfig:
        """The settings."""
        return self.resolved.config

    def fits(self, limits: Budgets | None = None, /, **changes: Any) -> Placement | None:  # noqa: ANN401
        """How it fits with other limits or settings; None if it does not."""
        config = self.config.model_copy(update=changes)
        limits, dtype = limits or self.machine.limits, self.machine.dtype
        with suppress(BudgetError, InputError):
            outline, remembered = self.outline, self.remembered
            if changes:
                outline = model_entry(config.model).outliner()(config, self.script)
            if changes.keys() & _REMEMBERED or "prune" in changes.get("allow", ()):
                sources = {**dict.fromkeys(changes, "a way out"), **self.resolved.sources}
                remembered = remember(Resolved(config, sources), outline, dtype)
            return settle(config, outline, remembered, limits, dtype)
        return None

    def reaches(self, num_chunks: int) -> bool:
        """Whether the first chunks fit as asked."""
        plan = shortened(self.remembered.plan, num_chunks)
        first = replace(self.remembered, plan=plan, thinning=None)  # pruned chunks are another plan's
        with suppress(BudgetError):
            settle(self.config, self.outline, first, self.machine.limits, self.machine.dtype)
            return True
        return False


def refusal(error: NoRoomError, case: Case) -> Refusal:
    """Why it does not fit, and what would."""
    short_of, needed, budget = _shortest(error.least)
    return Refusal(
        problem=error.problem,
        where=error.where,
        short_of=short_of,
        short_bytes=needed - budget,
        largest=_largest(case),
        ways=tuple(islice(_ways(case, error.least), MOST_WAYS)),
    )


def shortened(plan: MemoryPlan, num_chunks: int) -> MemoryPlan:
    """The plan of the first chunks alone, exact in what window and bank take."""
    steps = plan.steps[:num_chunks]
    use = BankUse(steps=steps, pool_tokens=plan.pool_tokens, keep_all=plan.keep_all)
    return replace(
        plan,
        layout=replace(plan.layout, num_frames=num_chunks * plan.layout.chunk_frames),
        schedule=replace(plan.schedule, chunks=plan.schedule.chunks[:num_chunks]),
        steps=steps,
        use=use,
    )


def _largest(case: Case) -> Rollout | None:
    """The longest beginning of the trajectory that fits."""
    fits, over = 0, case.remembered.plan.layout.num_chunks
    while over - fits > 1:
        middle = (fits + over) // 2
        fits, over = (middle, over) if case.reaches(middle) else (fits, middle)
    if not fits:
        return None
    entry, chunk_frames = model_entry(case.config.model), case.script.chunk_frames
    frames = entry.first_chunk_frames(chunk_frames) + (fits - 1) * entry.later_chunk_frames(chunk_frames)
    return Rollout(chunks=fits, frames=frames, seconds=frames / case.script.trajectory.fps)


def _ways(case: Case, least: Placement) -> Iterator[Way]:
    """What fits, the one that costs least first."""
    config, found = case.config, False
    for way in (*_other_places(case), *_other_numbers(case)):
        found = True
        yield way
    for way in _less_memory(case):
        found = True
        yield way
    if not found and config.memory == "worldkv":
        asked: dict[str, Any] = {"allow": ("int8", "int4"), "decode_dtype": "bfloat16", "retrieve": 1.0}
        if config.model.startswith("lingbot"):
            asked["weights"] = "int8"
        if case.fits(**asked, retrieve_tokens=None):
            flags = " ".join(_flag(key, value) for key, value in asked.items())
            yield Way(flags=_instead(case, flags, "retrieve_tokens"), costs=FIDELITY)
    yield from _larger_budget(case, least)


def _other_places(case: Case) -> Iterator[Way]:
    """Slower, but the same pictures."""
    config, limits = case.config, case.machine.limits
    for key in ("bank", "weights"):
        if key in case.resolved.sources and case.fits(**{key: GenerateConfig.model_fields[key].default}):
            yield Way(flags=f"without {_flag(key, getattr(config, key))}", costs="")
    if config.bank is None and case.remembered.plan.use.peak_tokens:
        placed = case.fits(replace(limits, disk=_BOUNDLESS))
        if placed is not None and placed.disk_bytes:
            disk = _whole_gib(placed.disk_bytes)
            if case.fits(replace(limits, disk=disk)):
                yield Way(flags=f"--disk-budget {disk // GIB}GiB", costs="")


def _other_numbers(case: Case) -> Iterator[Way]:
    """Fewer bits."""
    for more in (("int8",), ("int8", "int4"), ("int8", "int4", "prune")):
        allowed = tuple(dict.fromkeys((*case.config.allow, *more)))
        if _allows_less(case.config, allowed) and case.fits(allow=allowed):
            yield Way(flags=_flag("allow", allowed), costs=FIDELITY)
            break
    if case.config.decode_dtype == "float32" and case.fits(decode_dtype="bfloat16"):
        yield Way(flags="--decode-dtype bfloat16", costs=FIDELITY)
    if case.config.weights in ("auto", "streamed") and case.fits(weights="int8"):
        yield Way(flags="--weights int8", costs=FIDELITY)


def _allows_less(config: GenerateConfig, allowed: tuple[str, ...]) -> bool:
    """Whether the bank may be kept in more ways if these are allowed."""
    return config.bank_precision is None and not set(allowed) <= set(config.allow)


def _less_memory(case: Case) -> Iterator[Way]:
    """Fewer keys and values."""
    config = case.config
    if config.memory == "full":
        if case.fits(memory="worldkv"):
            yield Way(flags="--memory worldkv", costs=MEMORY)
    elif config.memory == "worldkv":
        if config.keep_ratio == 1.0 and case.fits(keep_ratio=0.25):
            yield Way(flags="--keep-ratio 0.25", costs=MEMORY)
        chunks = _most_retrieved(case)
        if chunks:
            yield Way(flags=_instead(case, f"--retrieve {chunks}", "retrieve_tokens"), costs=MEMORY)
        if case.fits(memory="sink", retrieve=None, retrieve_tokens=None, memory_preset=None):
            gone = ("retrieve", "retrieve_tokens", "memory_preset")
            yield Way(flags=_instead(case, "--memory sink", *gone), costs=MEMORY)


def _most_retrieved(case: Case) -> int:
    """The most whole chunks' worth of retrieved tokens that fit, fewer than asked for; 0 if none."""
    now = case.remembered.plan.layout
    fits, over = 0, -(-now.retrieve_tokens // now.tokens_per_chunk)
    while over - fits > 1:
        middle = (fits + over) // 2
        small = case.fits(retrieve=float(middle), retrieve_tokens=None)
        fits, over = (middle, over) if small else (fits, middle)
    return fits


def _larger_budget(case: Case, least: Placement) -> Iterator[Way]:
    """The budget that is short, as large as it must be."""
    kind, needed, _ = _shortest(least)
    wanted = _whole_gib(needed)
    limits = {
        "device": replace(case.machine.limits, device=wanted),
        "host": replace(case.machine.limits, host=wanted),
        "disk": replace(case.machine.limits, disk=wanted),
    }[kind]
    if case.fits(limits):
        yield Way(flags=f"{_BUDGET_FLAGS[kind]} {wanted // GIB}GiB", costs="a larger machine")


def _shortest(least: Placement) -> tuple[str, int, int]:
    """Of what there is too little, in the error's order: its kind, what is needed, and what there is."""
    budgets = least.budgets
    if least.over_device:
        return "device", least.device_bytes, budgets.device or 0
    if least.over_host:
        return "host", least.parts.host_bytes, budgets.host or 0
    return "disk", least.disk_bytes, budgets.disk or 0


def _instead(case: Case, flags: str, *gone: str) -> str:
    """Flags, and which of the given ones they cannot stand beside."""
    there = [_flag(key, getattr(case.config, key)) for key in gone if key in case.resolved.sources]
    return ", without ".join((flags, *there))


def _flag(key: str, value: object) -> str:
    """A setting as it is written on the command line."""
    flag = f"--{key.replace('_', '-')}"
    if isinstance(value, tuple):
        return f"{flag} {','.join(value)}"
    return f"{flag} {value:g}" if isinstance(value, float) else f"{flag} {value}"


def _whole_gib(size_bytes: int) -> int:
    return -(-size_bytes // GIB) * GIB
