"""Profiles that take a second: six chunks of the embedded model."""

from functools import cache

import torch

from core.profiling.engine import Cell, Stage, load_timed, open_session, plan_cell
from core.profiling.grid import cells_of, plan_grid
from core.profiling.run import Outcome, Watch, run_profile
from core.profiling.settings import ProfileSettings

CPU, DTYPE = torch.device("cpu"), torch.float32
SETTINGS = ProfileSettings(lengths=(6, 8), repeats=1, modes=("full", "sliding", "worldkv"))


@cache
def cells() -> tuple[Cell, ...]:
    session = open_session(SETTINGS, {}, {})
    return tuple(cells_of(plan_grid(SETTINGS, session, {}, {}, device=CPU, dtype=DTYPE)))


@cache
def stage() -> Stage:
    return load_timed(cells()[0], CPU, DTYPE, lambda *_: None)


def numbered() -> list[tuple[int, Cell]]:
    return list(enumerate(cells()))


@cache
def outcome() -> Outcome:
    """A whole small profile, measured once for all tests of a process."""
    return run_profile(SETTINGS, {}, watch=Watch())


def cell(mode: str, **flags: object) -> Cell:
    session = open_session(SETTINGS, {}, {})
    return plan_cell(session, {"memory": mode, "vram_budget": None, **flags}, {}, device=CPU, dtype=DTYPE)
