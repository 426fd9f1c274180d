"""The grid of a profile, planned: which cells fit, and what they would take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from core.errors import BudgetError, InputError
from core.models.session import Session
from core.profiling.engine import Cell, plan_cell, window_frames
from core.profiling.settings import ProfileSettings

UNLIMITED_BYTES = 1 << 60


@dataclass(frozen=True)
class Planned:
    """One cell of the grid.

    Attributes:
        mode: Memory mode.
        budget_bytes: Of device memory; None for what is free.
        cell: The plan; None if it does not fit.
        refused: Why it does not fit; with one layer's memory for all layers it may run all the same.
    """

    mode: str
    budget_bytes: int | None
    cell: Cell | None
    refused: str | None = None


def plan_grid(
    settings: ProfileSettings,
    session: Session,
    flags: Mapping[str, Any],
    env: Mapping[str, str],
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Planned, ...]:
    """Plan every mode under every budget.

    Args:
        settings: The grid.
        session: Of the longest rollout.
        flags: Settings of `generate` that all cells share.
        env: The environment.
        device: Where it will run.
        dtype: Of weights, keys and values.

    Raises:
        InputError: Nothing of it fits.
    """
    grid = []
    for budget in settings.budgets:
        frames: int | None = None
        for mode in sorted(settings.modes, key=lambda mode: mode != "worldkv"):
            wanted = {**flags, "memory": mode, "vram_budget": budget}
            if mode == "sliding" and frames is not None and not settings.own_window:
                wanted["recent"] = frames
            planned = _planned(settings, session, wanted, env, device, dtype)
            grid.append(planned)
            if mode == "worldkv" and planned.cell is not None:
                frames = window_frames(planned.cell.plan)
    if all(planned.cell is None for planned in grid):
        raise InputError(
            f"nothing of the grid fits: {grid[0].refused}",
            where="--vram-budget",
            hint="give more, or let all layers share one layer's memory: --one-layer",
        )
    order = {mode: number for number, mode in enumerate(settings.modes)}
    budgets = list(settings.budgets)
    return tuple(sorted(grid, key=lambda each: (budgets.index(each.budget_bytes), order[each.mode])))


def _planned(
    settings: ProfileSettings,
    session: Session,
    flags: Mapping[str, Any],
    env: Mapping[str, str],
    device: torch.device,
    dtype: torch.dtype,
) -> Planned:
    mode, budget = str(flags["memory"]), flags["vram_budget"]
    refused = None
    try:
        cell = plan_cell(session, flags, env, device=device, dtype=dtype)
    except BudgetError as error:
        refused = error.problem
        if not settings.one_layer:
            return Planned(mode, budget, None, refused)
    if refused is not None or settings.one_layer:
        unlimited = {**flags, "vram_budget": UNLIMITED_BYTES, "ram_budget": UNLIMITED_BYTES}
        cell = plan_cell(session, unlimited, env, device=device, dtype=dtype)
    return Planned(mode, budget, cell, refused)


def cells_of(grid: Sequence[Planned]) -> list[Cell]:
    """Those that can be run."""
    return [planned.cell for planned in grid if planned.cell is not None]
