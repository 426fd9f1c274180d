import numpy as np
import pytest

from core.memory.lifetimes import NEVER, lifetimes
from core.memory.schedule import build_schedule
from core.memory.strategies.pose import Pose
from core.memory.strategies.rays import Rays
from tests.core.memory.policy.cameras import random_walk, spin, worldkv_layout

TPC = 36


def brute_uses(schedule, chunk, token):
    """Chunks that retrieve one token."""
    return [
        later.chunk
        for later in schedule.chunks
        for s in later.selections
        if s.chunk == chunk and (s.tokens is None or token in s.tokens)
    ]


@pytest.mark.parametrize("strategy", [Rays(), Pose(num_chunks=2)])
@pytest.mark.parametrize("views", [spin(20), random_walk(20, seed=4)], ids=["spin", "walk"])
def test_lifetimes_equal_brute_force(strategy, views):
    schedule = build_schedule(views, worldkv_layout(views, 72), strategy)
    found = lifetimes(schedule, TPC)
    for chunk in range(20):
        uses = [brute_uses(schedule, chunk, token) for token in range(TPC)]
        assert found.first_use(chunk).tolist() == [u[0] if u else NEVER for u in uses]
        assert found.last_use(chunk).tolist() == [u[-1] if u else NEVER for u in uses]
        for after in (chunk, 9, 15, 19):
            following = [[c for c in u if c > after] for u in uses]
            assert found.next_use(chunk, after).tolist() == [u[0] if u else NEVER for u in following]
        asked = found.asked_tokens(chunk)
        if asked is None:
            assert strategy.whole_chunks
            assert uses[0]
        else:
            assert asked.tolist() == [t for t, u in enumerate(uses) if u]


def test_a_chunk_that_nobody_retrieves():
    views = spin(4)
    found = lifetimes(build_schedule(views, worldkv_layout(views, 72), Rays()), TPC)
    assert found.asked_tokens(3).tolist() == []
    assert (found.first_use(3) == NEVER).all()
    assert found.next_use(0, 0).dtype == np.int32
