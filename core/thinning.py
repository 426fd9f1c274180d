"""Pruning some chunks and not others, where the bank finds no room: those needed least go first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from core.memory.plan import MemoryPlan
from core.memory.prune_policy import PruneRule, Pruning

KEEP_RATIO = 0.25
"""Of a chunk that is pruned for want of room: the paper's, which halves it. Source: arXiv:2605.22718."""


@dataclass(frozen=True, eq=False)
class Thinning:
    """A plan whose stored chunks may be pruned one after another.

    Attributes:
        plan: The plan without pruning.
        replan: The same schedule with some pruning.
        rule: Which tokens of a pruned chunk stay.
    """

    plan: MemoryPlan
    replan: Callable[[Pruning], MemoryPlan]
    rule: PruneRule
    _made: dict[int, MemoryPlan] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Stored chunks, first those seen again least: by the views shared with whoever recalls them."""
        seen: dict[int, float] = {}
        for step in self.plan.steps:
            for selection in step.selections:
                seen[selection.chunk] = seen.get(selection.chunk, 0.0) + selection.overlap
        stored = [step.chunk for step in self.plan.steps if step.num_stored]
        return tuple(sorted(stored, key=lambda chunk: (seen.get(chunk, 0.0), chunk)))

    def pruned(self, count: int) -> MemoryPlan:
        """The plan with so many chunks pruned; made once."""
        if count not in self._made:
            only = frozenset(self.order[:count])
            self._made[count] = self.replan(Pruning(rule=self.rule, keep_ratio=KEEP_RATIO, only=only))
        return self._made[count]

    def fewest(self, fits: Callable[[MemoryPlan], bool]) -> MemoryPlan | None:
        """The plan that prunes the fewest chunks and fits; None if none does."""
        if not self.order or not fits(self.pruned(len(self.order))):
            return None
        low, high = 0, len(self.order)  # too few, enough
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if fits(self.pruned(middle)) else (middle, high)
        return self.pruned(high)
