"""Retrieval strategies by name: one small class a file, all behind `base.Strategy`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping

from core.errors import InputError
from core.memory.strategies.base import Strategy
from core.memory.strategies.coverage import Coverage
from core.memory.strategies.pose import Pose
from core.memory.strategies.rays import Rays

STRATEGIES: Mapping[str, Callable[..., Strategy]] = {
    Pose.name: Pose,
    Coverage.name: Coverage,
    Rays.name: Rays,
}


def strategy(name: str) -> Callable[..., Strategy]:
    """The class of a strategy, to be called with its settings: `strategy("pose")(num_chunks=3)`."""
    if name in STRATEGIES:
        return STRATEGIES[name]
    near = difflib.get_close_matches(name, STRATEGIES, n=1, cutoff=0.5)
    known = ", ".join(STRATEGIES)
    raise InputError(
        f"unknown retrieval strategy {name!r}",
        where="--strategy",
        hint=f"did you mean {near[0]}? known: {known}" if near else f"known: {known}",
    )
