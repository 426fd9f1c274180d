"""The plan, executed by a simulated bank and window that hold labels in place of keys and values."""

import itertools
import json
import time
from dataclasses import replace

import numpy as np
import pytest

from core.errors import InputError
from core.memory.carry import CarriedTokens
from core.memory.layout import MemoryMode, WindowLayout
from core.memory.planner import plan_memory
from core.memory.prune_policy import Pruning, kept_tokens
from core.memory.strategies.coverage import Coverage
from core.memory.strategies.pose import Pose
from core.memory.strategies.rays import Rays
from tests.core.memory.policy.cameras import (
    footprint,
    random_walk,
    spin,
    viewpoints,
    worldkv_layout,
    yaw_c2w,
)

TPF, TPC = 12, 36


def simulate(plan):
    """Run the plan on labels; yields per chunk what the window holds beyond its native frames."""
    pool: list = [None] * plan.pool_tokens
    native = plan.layout.native_frames * TPF
    slab: list = [None] * plan.window_tokens
    for step in plan.steps:
        carried = [slab[slot] for slot in step.carry_slots]
        behind = native + step.num_retrieved
        slab[behind : behind + len(carried)] = carried
        assert carried == list(plan.layout.carried_tokens(step.chunk, taken_tokens(plan, step)))
        assert sorted({token // TPF for token in carried}) == list(step.carried_frames)
        for slot, source in zip(step.insert_slots, kept(plan, step.insert_pool), strict=True):
            slab[native + slot] = pool[source]
        for offset, slot in enumerate(step.frame_slots):
            first = (step.frames + offset) * TPF
            slab[slot * TPF : (slot + 1) * TPF] = range(first, first + TPF)
        filled = slab[native:behind]
        visible = plan.visible_tokens(step)
        assert visible <= plan.window_tokens
        assert None not in slab[:visible]
        yield step, [*slab[: step.native_slots * TPF], *carried], filled
        if step.store_tokens is not None:
            assert len(step.store_tokens) == len(step.store_pool)
            ids = step.store_tokens.tolist()
        else:
            ids = range(len(step.store_pool))
        for token, slot in zip(ids, step.store_pool, strict=True):
            pool[slot] = step.chunk * TPC + token


def kept(plan, pool_slots):
    """Where keys decide on use, any tokens of the whole chunks may enter: say, the first ones."""
    if not plan.pruning.keys_on_use:
        return pool_slots
    return pool_slots.reshape(-1, TPC)[:, : plan.pruning.kept_per_chunk(TPF, 3)].ravel()


def taken_tokens(plan, step):
    """Tokens that the chunk takes from the bank."""
    stored = TPC if plan.pruning.keys_on_use else plan.pruning.kept_per_chunk(TPF, 3)
    return sum(stored if s.tokens is None else len(s.tokens) for s in step.selections)


def expected_tokens(plan, views, selection):
    if selection.tokens is not None:
        ids = selection.tokens
    else:
        ids = kept_tokens(plan.pruning, views, selection.chunk)
        if ids is None or plan.pruning.keys_on_use:
            ids = np.arange(plan.pruning.kept_per_chunk(TPF, 3))
    return [selection.chunk * TPC + int(i) for i in ids]


def check(plan, views):
    live: set = set()
    uses = {
        label: step.chunk
        for step in plan.steps
        for s in step.selections
        for label in expected_tokens(plan, views, s)
    }
    for step, slab, filled in simulate(plan):
        layout = plan.layout
        native = {*layout.sink(step.chunk), *layout.recent(step.chunk), *layout.current(step.chunk)}
        tokens = [frame * TPF + token for frame in native for token in range(TPF)]
        taken = taken_tokens(plan, step)
        assert sorted(slab) == sorted([*tokens, *layout.carried_tokens(step.chunk, taken)])
        expected = [t for s in step.selections for t in expected_tokens(plan, views, s)]
        assert sorted(filled) == sorted(expected)
        assert step.retrieved_sources.tolist() == filled
        assert len(expected) <= layout.retrieve_tokens
        if plan.reinsert_all:
            assert filled == expected
            assert len(step.insert_slots) == step.num_retrieved
        if plan.pruning.keys_on_use:
            continue
        if plan.keep_all:
            live |= {step.chunk * TPC + i for i in range(len(step.store_pool))}
        else:
            live |= {label for label in uses if label // TPC == step.chunk}
            live = {label for label in live if uses[label] > step.chunk}
        assert step.bank_tokens_live == len(live)
    assert plan.pool_tokens == max(step.bank_tokens_live for step in plan.steps)
    if plan.pruning.keys_on_use:  # as without pruning
        whole = plan_memory(
            views,
            footprint=plan.footprint,
            layout=replace(plan.layout, retrieve_tokens=10 * TPC),
            strategy=Pose(num_chunks=2) if plan.schedule.strategy == "pose" else Coverage(num_chunks=2),
            keep_all=plan.keep_all,
        )
        live_tokens = [step.bank_tokens_live for step in plan.steps]
        assert live_tokens == [step.bank_tokens_live for step in whole.steps]


WHOLE = [Pose(num_chunks=2), Coverage(num_chunks=2)]
PRUNED = [
    Pruning(),
    *(Pruning(rule=r, keep_ratio=0.25) for r in ("key", "view", "random", "stride")),
    Pruning(rule="key", keep_ratio=0.25, when="use"),
    Pruning(rule="key", keep_ratio=0.25, when="use", rotate_anchor=True),
]


@pytest.mark.parametrize(("keep_all", "reinsert_all"), [*itertools.product([False, True], repeat=2)])
@pytest.mark.parametrize("views", [spin(30), random_walk(30, seed=7)], ids=["spin", "walk"])
@pytest.mark.parametrize(
    ("strategy", "pruning"),
    [*itertools.product(WHOLE, PRUNED), (Rays(), Pruning()), (Rays(max_distance=0.3), Pruning())],
    ids=lambda value: getattr(value, "rule", None) or getattr(value, "name", None),
)
def test_the_window_holds_exactly_what_is_selected(strategy, pruning, views, keep_all, reinsert_all):
    layout = worldkv_layout(views, 72)
    plan = plan_memory(
        views,
        footprint=footprint(),
        layout=layout,
        strategy=strategy,
        pruning=pruning,
        keep_all=keep_all,
        reinsert_all=reinsert_all,
    )
    check(plan, views)
    assert plan.sources_are_ranks == (pruning.rule == "key")
    assert plan.retrieved_tokens > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"sink_frames": 0, "recent_frames": 0},
        {"sink_frames": 4, "recent_frames": 5},
        {"sink_frames": 0, "recent_frames": 3, "release_gap": True},
        {"sink_frames": 6, "recent_frames": 3, "release_gap": True},
        {"sink_frames": 4, "recent_frames": 6, "release_gap": True},
        {"sink_frames": 4, "recent_frames": 3, "release_gap": True, "opening_frames": 4},
        {"sink_frames": 1, "recent_frames": 3, "release_gap": True, "opening_frames": 9},
        {"sink_frames": 200, "recent_frames": 3},
    ],
    ids=str,
)
def test_odd_windows(changes):
    views = spin(16)
    plan = plan_memory(
        views, footprint=footprint(), layout=worldkv_layout(views, 40, **changes), strategy=Rays()
    )
    check(plan, views)


@pytest.mark.parametrize("keep_ratio", [0.3, 0.5, 1.0])
@pytest.mark.parametrize("when", ["store", "use"])
@pytest.mark.parametrize("sink", [0, 3, 4])
def test_the_first_release_fills_its_window(sink, when, keep_ratio):
    views = spin(12)
    pruning = Pruning(rule="key", keep_ratio=keep_ratio, when=when)
    changes = {"sink_frames": sink, "release_gap": True, "opening_frames": 6, "release_fill": True}
    layout = worldkv_layout(views, 2 * pruning.kept_per_chunk(TPF, 3), **changes)
    plan = plan_memory(
        views, footprint=footprint(), layout=layout, strategy=Pose(num_chunks=2), pruning=pruning
    )
    check(plan, views)
    seen = [plan.visible_tokens(step) for step in plan.steps]
    if when == "store":
        assert seen == [min((c + 1) * TPC, (sink + 12) * TPF) for c in range(12)]
        assert plan.window_tokens == (sink + 12) * TPF


def test_recent_cannot_grow_back():
    changes = {"release_gap": True, "opening_frames": 6, "release_fill": True}
    layout = worldkv_layout(spin(12), 72, **changes)
    carried = CarriedTokens(layout)
    for chunk in range(8):
        carried.update(layout.carried_tokens(chunk, 72), chunk=chunk, num_retrieved=72)
    with pytest.raises(InputError, match="recent would grow back over tokens that left the window"):
        carried.update(layout.carried_tokens(8, 0), chunk=8, num_retrieved=0)


def test_a_window_that_begins_inside_a_frame():
    views = spin(14)
    layout = WindowLayout(mode=MemoryMode.FULL, num_frames=42, tokens_per_frame=TPF).limited_to(100)
    plan = plan_memory(views, footprint=footprint(), layout=layout)
    check(plan, views)
    assert [plan.visible_tokens(step) for step in plan.steps] == [36, 72, *[100] * 12]
    assert plan.window_tokens == 100


@pytest.mark.parametrize("mode", [MemoryMode.FULL, MemoryMode.SLIDING, MemoryMode.SINK])
def test_modes_without_retrieval_store_nothing(mode):
    views = spin(14)
    layout = WindowLayout(
        mode=mode,
        num_frames=42,
        tokens_per_frame=TPF,
        sink_frames=3 if mode is MemoryMode.SINK else 0,
        recent_frames=3,
    )
    plan = plan_memory(views, footprint=footprint(), layout=layout)
    check(plan, views)
    assert (plan.pool_tokens, plan.stored_tokens, plan.retrieved_tokens) == (0, 0, 0)
    # A full turn is 12 chunks: without memory the first chunks are missed when they come back.
    assert (plan.schedule.misses > 0) == (mode is not MemoryMode.FULL)
    kept = plan_memory(views, footprint=footprint(), layout=layout, keep_all=True)
    assert (kept.pool_tokens, kept.stored_token_ratio) == (14 * TPC, 1.0)


def test_hits_and_misses_by_hand():
    # Chunks 0 to 2 look ahead, 3 behind, 4 ahead again: 1 and 2 are outside sink and recent.
    views = viewpoints(yaw_c2w(np.repeat([0, 0, 0, 180, 0], 3)))
    plan = plan_memory(
        views, footprint=footprint(), layout=worldkv_layout(views, TPC), strategy=Pose(num_chunks=1)
    )
    last = plan.steps[4]
    assert [(s.chunk, s.overlap) for s in last.selections] == [(1, 1.0)]
    assert (last.hits, last.misses, last.idle) == (1, 1, 0)
    third = plan.steps[3]
    assert [(s.chunk, s.overlap) for s in third.selections] == [(1, 0.0)]
    assert (third.hits, third.misses, third.idle) == (0, 0, 1)
    assert (plan.schedule.precision, plan.schedule.recall) == (0.5, 0.5)
    assert (plan.schedule.revisiting_chunks, plan.schedule.recalled_chunks) == (1, 1)


def test_no_revisits_no_bank():
    positions = np.stack([np.zeros(24), np.zeros(24), np.arange(24) * 100.0], axis=1)
    moving = viewpoints(yaw_c2w(np.zeros(24), positions))
    plan = plan_memory(
        moving,
        footprint=footprint(),
        layout=worldkv_layout(moving, TPC),
        strategy=Rays(max_distance=1.0),
    )
    assert (plan.pool_tokens, plan.bank_bytes, plan.stored_token_ratio) == (0, 0, 0.0)
    assert plan.retrieved_token_ratio == 0.0


def test_bytes_and_summary():
    views = spin(30)
    plan = plan_memory(
        views, footprint=footprint(), layout=worldkv_layout(views, TPC), strategy=Pose(num_chunks=1)
    )
    per_token = 2 * 2 * 2 * 4 * 4
    assert plan.footprint.kv_bytes_per_token == per_token
    assert plan.window_tokens == (3 + 3 + 3) * TPF + TPC
    assert plan.window_bytes == plan.window_tokens * per_token
    assert plan.bank_bytes == plan.pool_tokens * per_token
    summary = json.loads(json.dumps(plan.summary()))
    assert summary["bank_token_bytes"] == per_token
    assert summary["bank_device_bytes"] == plan.bank_bytes
    assert summary["retrieved_token_ratio"] == 1.0
    assert summary["strategy"] == "pose"
    assert summary["hits"] + summary["idle"] == 27


def test_pruned_and_token_ratios_are_the_real_ones():
    views = spin(30)
    pruned = plan_memory(
        views,
        footprint=footprint(),
        layout=worldkv_layout(views, TPC),
        strategy=Pose(num_chunks=1),
        pruning=Pruning(rule="key", keep_ratio=0.25),
        keep_all=True,
    )
    assert pruned.stored_token_ratio == pruned.retrieved_token_ratio == pytest.approx(18 / 36)


@pytest.mark.parametrize(
    ("strategy", "settings", "problem"),
    [
        (None, {}, "needs a retrieval strategy"),
        (Rays(), {"pruning": Pruning(rule="view", keep_ratio=0.5)}, "picks the tokens itself"),
        (
            Pose(num_chunks=3),
            {},
            "3 retrieved chunks of 36 tokens need 108 tokens, the window has room for 72",
        ),
        (Rays(), {"hit_overlap": 0.0}, "hit_overlap"),
        (Rays(), {"footprint": footprint((4, 4))}, "token grid"),
        (Rays(), {"layout": worldkv_layout(spin(5), 72)}, "the window is laid out for 15 frames"),
    ],
)
def test_impossible_plans_are_refused(strategy, settings, problem):
    views = spin(6)
    arguments = {"footprint": footprint(), "layout": worldkv_layout(views, 72)} | settings
    with pytest.raises(InputError, match=problem):
        plan_memory(views, strategy=strategy, **arguments)


def test_the_same_input_makes_the_same_plan():
    plans = [
        plan_memory(v, footprint=footprint(), layout=worldkv_layout(v, 36), strategy=Rays())
        for v in (random_walk(25, seed=3), random_walk(25, seed=3))
    ]
    for one, two in zip(plans[0].steps, plans[1].steps, strict=True):
        np.testing.assert_array_equal(one.retrieved_sources, two.retrieved_sources)
        np.testing.assert_array_equal(one.store_pool, two.store_pool)


@pytest.mark.slow
@pytest.mark.parametrize(
    "strategy", [Pose(num_chunks=1), Coverage(num_chunks=1), Rays()], ids=lambda s: s.name
)
def test_long_rollouts_are_planned_in_seconds(strategy):
    views = random_walk(700, seed=0, turn_rad=0.2, stride=0.1)
    started = time.process_time()
    plan = plan_memory(views, footprint=footprint(), layout=worldkv_layout(views, TPC), strategy=strategy)
    assert time.process_time() - started < 5
    assert len(plan.steps) == 700
