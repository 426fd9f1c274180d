"""Window and bank on their own: snapshots, tiers, what is stored and what is allocated."""

from dataclasses import replace

import pytest
import torch

from core.errors import InputError
from core.memory.positions import PositionMode
from core.memory.prune_policy import Pruning
from core.memory.strategies import strategy
from core.rollout import rollout
from tests.core.memory.tiny import (
    LEVELS,
    TinyControls,
    make_plan,
    new_memory,
    noise_of,
    run,
    there_and_back,
)

CHUNKS = 8
POSE = {"strategy": strategy("pose")(num_chunks=2), "chunks": 2}
RAYS = {"strategy": strategy("rays")(), "tokens": 30}
CASES = {
    "full": {"mode": "full"},
    "sink": {"mode": "sink", "sink": 2, "recent": 4},
    "pose": {**POSE, "sink": 1, "recent": 4},
    "pose-key": {**POSE, "sink": 3, "recent": 3, "pruning": Pruning(rule="key", keep_ratio=0.25)},
    "pose-on-use": {
        **POSE,
        "sink": 3,
        "recent": 3,
        "pruning": Pruning(rule="key", keep_ratio=0.25, when="use"),
    },
    "pose-release-gap": {**POSE, "sink": 3, "recent": 3, "release_gap": True},
    "rays": {**RAYS, "sink": 3, "recent": 3},
    "rays-slot": {**RAYS, "sink": 3, "recent": 3, "positions": PositionMode.SLOT},
}
VIEWS = there_and_back(CHUNKS)


def memory_of(name, plan, **changes):
    return new_memory(plan, positions=CASES[name].get("positions", PositionMode.ABSOLUTE), **changes)


def equal(ours, expected):
    return len(ours) == len(expected) and all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))


@pytest.mark.parametrize("name", list(CASES))
def test_a_restored_rollout_goes_on_with_the_same_bits(name):
    plan = make_plan(VIEWS, **CASES[name])
    whole = run(VIEWS, plan, memory_of(name, plan))
    for cut in (1, 3, 5, 7):
        first = memory_of(name, plan)
        run(VIEWS, replace(plan, steps=plan.steps[:cut]), first)
        snapshot = {key: t.clone() for key, t in first.state().items()}
        second = memory_of(name, plan)
        for t in second.state().values():
            t.copy_(torch.full_like(t, 7))
        second.restore(snapshot)
        assert equal(run(VIEWS, replace(plan, steps=plan.steps[cut:]), second), whole[cut:])


def test_a_snapshot_holds_every_tensor():
    plan = make_plan(VIEWS, **CASES["pose-key"])
    memory = memory_of("pose-key", plan)
    state = memory.state()
    bank = {"bank.device", "bank.host", "bank.scales"}
    assert set(state) == {"window.keys", "window.values", "inserted", *bank}
    scratch = memory.bank.staging_bytes + memory.tally.nbytes
    assert sum(t.nbytes for t in state.values() if t.ndim) == memory.nbytes - scratch
    assert memory.window.nbytes == plan.window_bytes
    assert memory.tier_bytes == plan.tier_bytes


@pytest.mark.parametrize("name", ["pose", "pose-key", "pose-on-use", "rays", "rays-slot"])
def test_host_tier_gives_the_same_bits(name):
    plan = make_plan(VIEWS, **CASES[name])
    device = run(VIEWS, plan, memory_of(name, plan))
    assert equal(run(VIEWS, plan, memory_of(name, plan, tier="host")), device)


@pytest.mark.parametrize("name", ["pose", "pose-on-use", "rays"])
def test_keep_all_gives_the_same_bits(name):
    plan = make_plan(VIEWS, **CASES[name])
    everything = make_plan(VIEWS, **CASES[name], keep_all=True)
    assert everything.pool_tokens == VIEWS.num_chunks * VIEWS.tokens_per_chunk > plan.pool_tokens
    expected = run(VIEWS, plan, memory_of(name, plan))
    assert equal(run(VIEWS, everything, memory_of(name, everything)), expected)


def test_keep_all_keeps_every_raw_key():
    """With `keep_all` the bank holds the keys before RoPE of every chunk, retrieved or not."""
    plan = make_plan(VIEWS, **CASES["rays"], keep_all=True)
    memory = memory_of("rays", plan)
    controls, seen = TinyControls(VIEWS), []

    class Spy:
        def __init__(self, cache):
            self.cache = cache

        def attend(self, layer, q, k, v):
            seen.append((layer, k.clone(), v.clone()))
            return self.cache.attend(layer, q, k, v)

    latents = torch.randn(1, 4, 3, 6, 8, generator=torch.Generator().manual_seed(2))
    for step in plan.steps:
        memory.begin(step)
        seen.clear()
        controls.chunk(step.chunk).flow(latents, 0.0, Spy(memory.commit_cache(step)))
        for layer, k, v in seen:
            (stored,) = plan.residency.steps[step.chunk].stores
            rows = memory.bank.pools["device"][layer][:, stored.slots.unpack()]
            tokens = memory.bank.unpack(layer, rows, None)
            assert torch.equal(tokens.keys, k)
            assert torch.equal(tokens.values, v)


NANS = -1  # every bit set: not a number, whatever the type


def still_read(plan, chunk, slots):
    """The slots whose next use after a chunk is a read, not a store."""
    left, found = set(slots), set()
    for tiers in plan.residency.steps[chunk + 1 :]:
        read = {int(slot) for part in tiers.reads for slot in part.slots.unpack()}
        found |= left & read
        left -= read | {int(slot) for part in tiers.stores for slot in part.slots.unpack()}
    return found


@pytest.mark.parametrize("name", ["pose", "pose-key", "pose-on-use", "rays"])
def test_what_is_never_asked_for_again_is_not_stored(name):
    """The pool is as large as the plan's peak, and only what is live is ever read."""
    plan = make_plan(VIEWS, **CASES[name])
    memory = memory_of(name, plan)
    pool = memory.bank.pools["device"]
    assert pool.shape[2] == plan.residency.pool_tokens["device"] <= plan.pool_tokens
    assert plan.pool_tokens < VIEWS.num_chunks * VIEWS.tokens_per_chunk
    expected = run(VIEWS, plan, memory_of(name, plan))
    controls, ours = TinyControls(VIEWS), []
    live: set[int] = set()
    for step, tiers in zip(plan.steps, plan.residency.steps, strict=True):
        free = torch.tensor(sorted(set(range(pool.shape[2])) - live), dtype=torch.int64)
        pool[:, :, free] = NANS
        one = replace(plan, steps=(step,))
        ours += [r.latents for r in rollout(controls, one, memory, levels=LEVELS, noise=noise_of(1))]
        live |= {int(slot) for part in tiers.stores for slot in part.slots.unpack()}
        live = still_read(plan, step.chunk, live)
        assert len(live) == tiers.live[0]
    assert equal(ours, expected)


@pytest.mark.parametrize("name", ["full", "sink", "rays"])
def test_unfilled_window_slots_are_never_read(name):
    plan = make_plan(VIEWS, **CASES[name])
    memory = memory_of(name, plan)
    memory.window.keys.fill_(float("nan"))
    memory.window.values.fill_(float("nan"))
    assert equal(run(VIEWS, plan, memory), run(VIEWS, plan, memory_of(name, plan)))


@pytest.mark.parametrize("name", ["sink", "pose", "rays"])
def test_slab_and_pool_are_allocated_once(name):
    plan = make_plan(VIEWS, **CASES[name])
    memory = memory_of(name, plan)
    places = {key: t.data_ptr() for key, t in memory.state().items() if t.ndim}
    for result in rollout(TinyControls(VIEWS), plan, memory, levels=LEVELS, noise=noise_of(1)):
        assert {key: t.data_ptr() for key, t in memory.state().items() if t.ndim} == places
        keys, values = memory.window.read(0, memory.commit_cache(result.step).filled)
        assert keys.data_ptr() == memory.window.keys.data_ptr()  # attention reads the slab itself
        assert values.data_ptr() == memory.window.values.data_ptr()


def test_given_chunks_are_remembered_like_generated_ones():
    """A rollout whose first chunks are given goes on as the one that generated them."""
    plan = make_plan(VIEWS, **CASES["rays"])
    whole = run(VIEWS, plan, memory_of("rays", plan))
    results = rollout(
        TinyControls(VIEWS),
        plan,
        memory_of("rays", plan),
        levels=LEVELS,
        noise=noise_of(1),
        given=lambda chunk: whole[chunk] if chunk < 4 else None,
    )
    results = list(results)
    assert [r.given for r in results] == [True] * 4 + [False] * 4
    assert equal([r.latents for r in results], whole)


def test_noise_does_not_depend_on_the_memory_mode():
    """All chunks seen natively by two modes are equal to the last bit."""
    sliding = run(VIEWS, plan := make_plan(VIEWS, mode="sliding", recent=6), new_memory(plan))
    full = run(VIEWS, plan := make_plan(VIEWS, mode="full"), new_memory(plan))
    assert equal(sliding[:3], full[:3])
    assert not torch.equal(sliding[3], full[3])


@pytest.mark.parametrize("name", ["full", "pose-key", "rays"])
def test_bfloat16(name):
    """Half precision keeps its own rounding, and no more: the first chunks stay close to float32."""
    plan = make_plan(VIEWS, **CASES[name])
    expected = run(VIEWS, plan, memory_of(name, plan))
    memory = memory_of(name, plan, dtype=torch.bfloat16)
    ours = run(VIEWS, plan, memory)
    assert memory.nbytes < memory_of(name, plan).nbytes
    assert {t.dtype for t in ours} == {torch.float32}
    for a, b in zip(ours, expected, strict=True):
        assert a.isfinite().all()
        assert (a - b).square().mean().sqrt() < 0.1


def test_moving_positions_need_a_plan_that_writes_anew():
    plan = make_plan(VIEWS, **CASES["rays"])
    with pytest.raises(InputError, match="slot positions change from chunk to chunk"):
        new_memory(plan, positions=PositionMode.SLOT)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", ["full", "pose", "pose-key", "pose-on-use", "rays"])
def test_gpu_agrees_and_so_do_its_tiers(name):
    plan = make_plan(VIEWS, **CASES[name])
    gpu = torch.device("cuda")
    device = run(VIEWS, plan, memory_of(name, plan, device=gpu))
    host = memory_of(name, plan, device=gpu, tier="host")
    assert host.bank.pools["host"].is_pinned() or plan.pool_tokens == 0
    assert equal(run(VIEWS, plan, host), device)
    for a, b in zip(device, run(VIEWS, plan, memory_of(name, plan)), strict=True):
        torch.testing.assert_close(a.cpu(), b, atol=2e-3, rtol=0)
