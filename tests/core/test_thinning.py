"""Pruning as few chunks as it takes, those that are seen again least first."""

import pytest
import torch

from core.config import resolve
from core.errors import BudgetError
from core.generate import Job, prepare
from core.memory.planner import plan_memory
from core.memory.prune_policy import Pruning
from core.memory.strategies import strategy
from core.memory.tiers import Room
from core.thinning import Thinning
from tests.core.memory.tiny import make_plan, new_memory, run, there_and_back

VIEWS = there_and_back(10)
POSE = {"sink": 3, "recent": 3, "strategy": strategy("pose")(num_chunks=3), "chunks": 3}
PLAN = make_plan(VIEWS, **POSE)


def pruned(pruning: Pruning):
    return plan_memory(
        VIEWS, footprint=PLAN.footprint, layout=PLAN.layout, strategy=POSE["strategy"], pruning=pruning
    )


@pytest.mark.parametrize("rule", ["key", "view", "random", "stride"])
def test_sparing_all_or_none_is_as_without(rule):
    """The same bits; but for the rows, which hold where a token came from if keys decide."""
    half = Pruning(rule=rule, keep_ratio=0.25)
    none, every = (
        Pruning(rule=rule, keep_ratio=0.25, only=only) for only in (frozenset(), frozenset(range(10)))
    )
    whole = run(VIEWS, PLAN, new_memory(PLAN))
    assert all(map(torch.equal, run(VIEWS, pruned(none), new_memory(pruned(none))), whole))
    expected = run(VIEWS, pruned(half), new_memory(pruned(half)))
    assert all(map(torch.equal, run(VIEWS, pruned(every), new_memory(pruned(every))), expected))
    assert pruned(every).stored_tokens == pruned(half).stored_tokens < pruned(none).stored_tokens
    assert not all(map(torch.equal, expected, whole))


@pytest.mark.parametrize("rule", ["key", "view"])
def test_as_few_as_it_takes(rule):
    thinning = Thinning(PLAN, pruned, rule)
    sizes = [thinning.pruned(count).bank_bytes for count in range(len(thinning.order) + 1)]
    for limit in {*sizes, sizes[-1] + 1}:
        found = thinning.fewest(lambda plan, limit=limit: plan.bank_bytes <= limit)
        fewest = next(count for count, size in enumerate(sizes) if count and size <= limit)
        assert found.pruning.only == frozenset(thinning.order[:fewest])
    assert thinning.fewest(lambda plan: plan.bank_bytes < min(sizes)) is None


def test_what_is_seen_again_least_goes_first():
    thinning = Thinning(PLAN, pruned, "key")
    seen = dict.fromkeys(thinning.order, 0.0)
    for step in PLAN.steps:
        for selection in step.selections:
            seen[selection.chunk] += selection.overlap
    assert list(seen.values()) == sorted(seen.values())
    assert set(thinning.order) == {step.chunk for step in PLAN.steps if step.num_stored}


def test_some_pruned_in_every_tier(tmp_path):
    thinning = Thinning(PLAN, pruned, "key")
    some = thinning.pruned(len(thinning.order) // 2)
    expected = run(VIEWS, some, new_memory(some))
    split = some.within(Room(device=some.use.peak_tokens // 3, host=some.use.peak_tokens // 3, disk=None))
    assert all(map(torch.equal, run(VIEWS, split, new_memory(split, folder=tmp_path)), expected))


def prepared(**settings) -> Job:
    fixed = {"model": "mini", "device": "cpu", "traj": "look-around", "strategy": "pose"}
    return prepare(resolve({**fixed, **settings}, {}))


def test_only_if_it_is_allowed():
    whole = prepared()
    parts, bank = whole.placement.parts, whole.plan.tier_bytes["device"]
    # Where keys decide what is stored, a row also says where it came from.
    budgets = {"vram_budget": parts.device_bytes - bank + (1 << 16), "ram_budget": int(0.8 * bank)}
    with pytest.raises(BudgetError, match="of host memory even at the least"):
        prepared(**budgets)
    thin = prepared(**budgets, allow="prune")
    assert thin.placement.fits
    assert 0 < len(thin.plan.pruning.only) < whole.num_chunks
    assert thin.notes[-1].endswith("stored chunks, seen again least, are pruned by view")
    assert thin.plan.schedule is not None
    assert [s.selections for s in thin.plan.steps] == [s.selections for s in thin.plan.schedule.chunks]
    both = prepared(**budgets, allow="prune,int8")
    assert (both.plan.precision, both.plan.pruning.only) == ("int8", None)  # the milder turn suffices
