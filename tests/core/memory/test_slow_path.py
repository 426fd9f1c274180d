"""The engine against a plain recompute of attention over the same keys: every memory mode, whole rollouts."""

import pytest
import torch

from core.memory.positions import PositionMode
from core.memory.prune_policy import Pruning
from core.memory.strategies import strategy
from tests.core.memory.slow_memory import SlowMemory, slow_run
from tests.core.memory.tiny import make_plan, new_memory, run, there_and_back

ATOL = 2e-5  # latents have a standard deviation of 1.5; the largest difference seen is 2e-6
CHUNKS = 10

POSE = strategy("pose")(num_chunks=2)
COVERAGE = strategy("coverage")(num_chunks=2)
RAYS = strategy("rays")()

NATIVE = {
    "full": {"mode": "full"},
    **{f"sliding-{r}": {"mode": "sliding", "recent": r} for r in (0, 1, 3, 4, 6)},
    **{
        f"sink-{s}-{r}": {"mode": "sink", "sink": s, "recent": r} for s, r in ((1, 0), (2, 4), (3, 3), (5, 1))
    },
}
RETRIEVAL = {
    "pose": {"strategy": POSE, "chunks": 2, "sink": 3, "recent": 3},
    "pose-sink-1-recent-4": {"strategy": POSE, "chunks": 2, "sink": 1, "recent": 4},
    "pose-sink-0-recent-0": {"strategy": POSE, "chunks": 2},
    "pose-release-gap": {"strategy": POSE, "chunks": 2, "sink": 3, "recent": 3, "release_gap": True},
    "pose-release-gap-sink-4": {"strategy": POSE, "chunks": 2, "sink": 4, "recent": 6, "release_gap": True},
    "coverage": {"strategy": COVERAGE, "chunks": 2, "sink": 3, "recent": 3},
    "coverage-sink-4-recent-1": {"strategy": COVERAGE, "chunks": 2, "sink": 4, "recent": 1},
    "rays": {"strategy": RAYS, "tokens": 20, "sink": 3, "recent": 3},
    "rays-sink-2-recent-4": {"strategy": RAYS, "tokens": 50, "sink": 2, "recent": 4},
    "rays-one-token": {"strategy": RAYS, "tokens": 1, "sink": 1, "recent": 0},
    "rays-keep-all": {"strategy": RAYS, "tokens": 20, "sink": 3, "recent": 3, "keep_all": True},
}
PRUNED = {
    f"{rule}-{ratio}{'-pooled' if pooled else ''}": {
        "strategy": POSE,
        "chunks": 2,
        "sink": 3,
        "recent": 3,
        "pruning": Pruning(rule=rule, keep_ratio=ratio, pooled=pooled),
    }
    for rule, ratio, pooled in (
        ("key", 0.25, False),
        ("key", 0.5, True),
        ("view", 0.25, False),
        ("view", 0.25, True),
        ("random", 0.3, False),
        ("random", 0.3, True),
        ("stride", 0.5, False),
    )
}
ON_USE = {
    name: {
        "strategy": chooser,
        "chunks": 2,
        "sink": 3,
        "recent": 3,
        "pruning": Pruning(rule="key", keep_ratio=ratio, when="use", rotate_anchor=rotate),
        "positions": positions,
    }
    for name, chooser, ratio, rotate, positions in (
        ("use-0.25", POSE, 0.25, False, PositionMode.ABSOLUTE),
        ("use-0.5-coverage", COVERAGE, 0.5, False, PositionMode.ABSOLUTE),
        ("use-0.25-rotate", POSE, 0.25, True, PositionMode.ABSOLUTE),
        ("use-0.5-contiguous", POSE, 0.5, False, PositionMode.CONTIGUOUS),
        ("use-0.25-rotate-listed", POSE, 0.25, True, PositionMode.LISTED),
    )
}
POSITIONS = {
    f"{name}-{positions}": {**RETRIEVAL.get(name, PRUNED.get(name)), "positions": positions}
    for name, positions in (
        ("pose", PositionMode.CONTIGUOUS),
        ("pose", PositionMode.LISTED),
        ("pose-sink-1-recent-4", PositionMode.SLOT),
        ("coverage-sink-4-recent-1", PositionMode.CONTIGUOUS),
        ("rays", PositionMode.CONTIGUOUS),
        ("rays", PositionMode.LISTED),
        ("rays", PositionMode.SLOT),
        ("key-0.25", PositionMode.SLOT),
        ("key-0.25", PositionMode.LISTED),
    )
}
CASES = NATIVE | RETRIEVAL | PRUNED | ON_USE | POSITIONS


def both(settings, *, num_chunks=CHUNKS, batch=1, shuffle=None, commit="clean"):
    views = there_and_back(num_chunks)
    plan = make_plan(views, **settings)
    positions = settings.get("positions", PositionMode.ABSOLUTE)
    slow = SlowMemory(plan, views, positions=positions, shuffle=shuffle)
    expected = slow_run(views, slow, batch=batch, commit=commit)
    memory = new_memory(plan, positions=positions, batch=batch)
    return run(views, plan, memory, batch=batch, commit=commit), expected, plan, slow


def assert_same(ours, expected):
    for chunk, (a, b) in enumerate(zip(ours, expected, strict=True)):
        torch.testing.assert_close(a, b, atol=ATOL, rtol=0, msg=lambda m, c=chunk: f"chunk {c}: {m}")


@pytest.mark.parametrize("name", list(CASES))
def test_rollout_equals_the_slow_path(name):
    ours, expected, plan, slow = both(CASES[name])
    assert_same(ours, expected)
    memory = new_memory(plan, positions=CASES[name].get("positions", PositionMode.ABSOLUTE))
    assert [memory.commit_cache(step).filled for step in plan.steps] == slow.seen
    if plan.layout.retrieve_tokens:
        assert plan.retrieved_tokens > 0, "the case retrieves nothing, so it proves nothing"


@pytest.mark.parametrize(
    "name",
    ["full", "sink-2-4", "pose", "rays-slot", "key-0.25", "key-0.5-pooled", "use-0.25", "use-0.25-rotate"],
)
def test_rollouts_side_by_side_equal_the_slow_path(name):
    ours, expected, _, _ = both(CASES[name], num_chunks=8, batch=3)
    assert_same(ours, expected)
    assert (ours[-1][0] - ours[-1][1]).abs().max() > 0.1


@pytest.mark.parametrize("name", ["full", "sliding-6", "pose", "rays-slot", "key-0.25", "use-0.25"])
def test_the_last_pass_may_commit(name):
    """What is remembered is then what the sampler's last pass computed, of latents with a little noise."""
    ours, expected, plan, slow = both(CASES[name], commit="last")
    assert_same(ours, expected)
    assert [plan.visible_tokens(step) for step in plan.steps] == slow.seen
    clean, _, _, _ = both(CASES[name])
    assert torch.equal(ours[0], clean[0])
    assert (ours[-1] - clean[-1]).abs().max() > 1000 * ATOL


@pytest.mark.parametrize("num_chunks", [1, 2])
@pytest.mark.parametrize(
    "name", ["full", "sliding-6", "sink-2-4", "pose-sink-1-recent-4", "rays-sink-2-recent-4"]
)
def test_rollouts_shorter_than_the_window(name, num_chunks):
    views = there_and_back(num_chunks)
    plan = make_plan(views, **CASES[name])
    assert plan.layout.native_frames == 3 * num_chunks
    assert_same(run(views, plan, new_memory(plan)), slow_run(views, SlowMemory(plan, views)))


@pytest.mark.parametrize("num_chunks", range(3, 10))
@pytest.mark.parametrize(
    "name",
    ["full", "sliding-6", "sink-2-4", "pose", "pose-release-gap", "rays", "coverage", "key-0.25", "use-0.25"],
)
def test_short_rollouts(name, num_chunks):
    """Recent is never shorter because the video is."""
    ours, expected, plan, slow = both(CASES[name], num_chunks=num_chunks)
    assert_same(ours, expected)
    assert [plan.visible_tokens(step) for step in plan.steps] == slow.seen
    layout = plan.layout
    for step in plan.steps:
        finished = range(3 * step.chunk)
        newest = set(finished if layout.mode == "full" else finished[-layout.recent_frames :])
        assert newest <= {*layout.sink(step.chunk), *layout.recent(step.chunk)}


@pytest.mark.parametrize("name", ["sink-2-4", "pose", "rays-listed"])
def test_the_order_of_keys_does_not_matter(name):
    ours, expected, _, _ = both(CASES[name], shuffle=torch.Generator().manual_seed(1))
    assert_same(ours, expected)


def test_modes_and_positions_differ():
    """The tolerance means something only where other keys or positions move the result much further."""
    views = there_and_back(CHUNKS)
    names = ["full", "sliding-4", "sink-2-4", "pose", "rays", "key-0.25", "view-0.25", "random-0.3"]
    names += ["pose-contiguous", "pose-listed", "rays-slot", "rays-contiguous", "rays-listed"]
    last = []
    for name in names:
        plan = make_plan(views, **CASES[name])
        positions = CASES[name].get("positions", PositionMode.ABSOLUTE)
        last.append(torch.stack(run(views, plan, new_memory(plan, positions=positions))))
    gaps = [(a - b).abs().max() for i, a in enumerate(last) for b in last[:i]]
    assert min(gaps) > 1000 * ATOL
