"""From settings to a plan that fits the budgets, or to an error that says which one would."""

from __future__ import annotations

from contextlib import suppress

import torch

from core.config import GenerateConfig, Resolved
from core.errors import BudgetError, InputError
from core.hardware import NOTHING_HELD, Held, budgets
from core.memory.plan import MemoryPlan
from core.memory.planner import plan_memory
from core.memory.positions import sink_follows
from core.memory.row_bytes import Precision
from core.memory_settings import MemorySettings, memory_settings
from core.models.session import Session
from core.placement import BankRequest, Placement, choose_placement

MOST_TRIED = 8
"""Chunks' worth of retrieved tokens from which smaller ones are tried: each is a plan of its own."""


def place(
    resolved: Resolved,
    session: Session,
    device: torch.device,
    dtype: torch.dtype,
    held: Held = NOTHING_HELD,
) -> tuple[MemorySettings, MemoryPlan, Placement]:
    """Plan the rollout's memory, and where it lies.

    Raises:
        BudgetError: It does not fit; the hint says which smaller memory does.
    """
    try:
        return _place(resolved, session, device, dtype, held)
    except BudgetError as error:
        fitting = _smaller_that_fits(resolved, session, device, dtype, held)
        hint = f"{fitting} fits; {error.hint}" if fitting else error.hint
        raise BudgetError(error.problem, where=error.where, hint=hint) from None


def _place(
    resolved: Resolved, session: Session, device: torch.device, dtype: torch.dtype, held: Held
) -> tuple[MemorySettings, MemoryPlan, Placement]:
    memory = memory_settings(resolved, session)
    plan = plan_memory(
        session.viewpoints,
        footprint=session.footprint(dtype),
        layout=memory.layout,
        strategy=memory.strategy,
        pruning=memory.pruning,
        keep_all=resolved.config.keep_all,
        reinsert_all=memory.positions.moves,
    )
    follows = sink_follows(memory.positions, plan.layout, trained_frames=session.trained_frames)
    config = resolved.config
    placement = choose_placement(
        session.options(plan, dtype),
        budgets(config, device, held),
        plan,
        bank=BankRequest(config.bank, config.bank_precision, allowed_precisions(config), follows),
        ways_out=session.ways_out,
    )
    return memory, placement.plan, placement


def allowed_precisions(config: GenerateConfig) -> tuple[Precision, ...]:
    """What the bank may be kept in where there is no room for native keys and values."""
    return tuple(each for each in ("int8", "int4") if each in config.allow)


def _smaller_that_fits(
    resolved: Resolved, session: Session, device: torch.device, dtype: torch.dtype, held: Held
) -> str | None:
    """The largest retrieval that fits, or memory without retrieval, as a flag."""
    config = resolved.config
    if config.memory != "worldkv":
        return None
    now = memory_settings(resolved, session).layout.retrieve_tokens // session.viewpoints.tokens_per_chunk
    for chunks in (*range(min(now, MOST_TRIED) - 1, 0, -1), None):
        update = {"memory": "worldkv" if chunks else "sink", "retrieve": chunks and float(chunks)}
        changed = config.model_copy(update={"retrieve_tokens": None, "keep_all": False, **update})
        with suppress(BudgetError, InputError):
            _place(Resolved(changed, resolved.sources), session, device, dtype, held)
            return f"--retrieve {chunks}" if chunks else "--memory sink"
    return None
