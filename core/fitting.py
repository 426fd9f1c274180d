"""From settings to a plan that fits the budgets, or to an error that says which one would."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from core.choose_placement import choose_placement
from core.config import GenerateConfig, Resolved
from core.elements import Element
from core.errors import BudgetError, InputError
from core.limits import NOTHING_HELD, Held
from core.memory.plan import MemoryPlan
from core.memory.planner import plan_memory
from core.memory.positions import sink_follows
from core.memory.row_bytes import Precision
from core.memory_settings import MemorySettings, memory_settings, prune_rule
from core.models.outline import Outline
from core.placement import BankRequest, Budgets, Placement
from core.thinning import Thinning

if TYPE_CHECKING:
    import torch

MOST_TRIED = 8
"""Chunks' worth of retrieved tokens from which smaller ones are tried: each is a plan of its own."""


@dataclass(frozen=True)
class Remembered:
    """What a rollout remembers, whatever room there is for it.

    Attributes:
        memory: How it remembers.
        plan: What the memory does at every chunk; no tier has a limit.
        sink_follows: Whether the sink's keys are kept before RoPE, too.
        thinning: How stored chunks may be pruned where there is no room, if the user allows it.
    """

    memory: MemorySettings
    plan: MemoryPlan
    sink_follows: bool
    thinning: Thinning | None = None


def place(
    resolved: Resolved,
    session: Outline,
    device: torch.device,
    dtype: Element,
    held: Held = NOTHING_HELD,
) -> tuple[MemorySettings, MemoryPlan, Placement]:
    """Plan the rollout's memory, and where it lies.

    Raises:
        BudgetError: It does not fit; the hint says which smaller memory does.
    """
    from core.hardware import budgets  # needs torch, which plans for other machines do without

    limits = budgets(resolved.config, device, held)
    try:
        remembered = remember(resolved, session, dtype)
        placement = settle(resolved.config, session, remembered, limits, dtype)
    except BudgetError as error:
        fitting = _smaller_that_fits(resolved, session, limits, dtype)
        hint = f"{fitting} fits; {error.hint}" if fitting else error.hint
        raise BudgetError(error.problem, where=error.where, hint=hint) from None
    return remembered.memory, placement.plan, placement


def remember(resolved: Resolved, outline: Outline, dtype: Element) -> Remembered:
    """Plan what the rollout remembers.

    Raises:
        InputError: No such window is possible.
    """
    memory = memory_settings(resolved, outline)
    config = resolved.config
    plan_of = partial(
        plan_memory,
        outline.viewpoints,
        footprint=outline.footprint(dtype),
        layout=memory.layout,
        strategy=memory.strategy,
        keep_all=config.keep_all,
        reinsert_all=memory.positions.moves,
    )
    plan = plan_of(pruning=memory.pruning)
    follows = sink_follows(memory.positions, plan.layout, trained_frames=outline.trained_frames)
    thinning: Thinning | None = None
    whole = memory.strategy is not None and memory.strategy.whole_chunks and memory.pruning.rule == "none"
    rule = prune_rule(config, outline)
    if "prune" in config.allow and whole and rule != "none":
        again = partial(plan_of, schedule=plan.schedule)
        thinning = Thinning(plan, lambda pruning: again(pruning=pruning), rule)
    return Remembered(memory, plan, follows, thinning)


def settle(
    config: GenerateConfig, outline: Outline, remembered: Remembered, limits: Budgets, dtype: Element
) -> Placement:
    """Decide where the rollout's memory lies.

    Raises:
        NoRoomError: It does not fit.
    """
    asked = BankRequest(
        config.bank, config.bank_precision, allowed_precisions(config), remembered.sink_follows
    )
    return choose_placement(
        outline.options(remembered.plan, dtype),
        limits,
        remembered.plan,
        bank=asked,
        thinning=remembered.thinning,
        ways_out=outline.ways_out,
    )


def allowed_precisions(config: GenerateConfig) -> tuple[Precision, ...]:
    """What the bank may be kept in where there is no room for native keys and values."""
    return tuple(each for each in ("int8", "int4") if each in config.allow)


def _smaller_that_fits(resolved: Resolved, outline: Outline, limits: Budgets, dtype: Element) -> str | None:
    """The largest retrieval that fits, or memory without retrieval, as a flag."""
    config = resolved.config
    if config.memory != "worldkv":
        return None
    now = memory_settings(resolved, outline).layout.retrieve_tokens // outline.viewpoints.tokens_per_chunk
    for chunks in (*range(min(now, MOST_TRIED) - 1, 0, -1), None):
        update = {"memory": "worldkv" if chunks else "sink", "retrieve": chunks and float(chunks)}
        changed = config.model_copy(update={"retrieve_tokens": None, "keep_all": False, **update})
        with suppress(BudgetError, InputError):
            smaller = remember(Resolved(changed, resolved.sources), outline, dtype)
            settle(changed, outline, smaller, limits, dtype)
            return f"--retrieve {chunks}" if chunks else "--memory sink"
    return None
