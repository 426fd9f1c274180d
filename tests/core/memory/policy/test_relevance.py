import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.memory import relevance
from core.memory.overlap import OverlapSampling, OverlapTable
from core.memory.relevance import relevant_counts
from tests.benchmarks.long_paths import PATHS, lingbot_views
from tests.core.memory.policy.cameras import random_walk, spin, viewpoints


def brute(views, table, outside, hit_overlap):
    """Every chunk against every chunk, point by point."""
    return [
        int((table.overlaps(chunk, past) >= hit_overlap).sum()) if past else 0
        for chunk, past in enumerate(outside)
    ]


def outside(views, first=1, recent=1):
    return [range(first, max(first, chunk - recent)) for chunk in range(views.num_chunks)]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    turn=st.sampled_from([0.02, 0.2, 0.7]),
    stride=st.sampled_from([0.0, 0.05, 0.5, 5.0]),
    hit_overlap=st.sampled_from([0.01, 0.2, 0.35, 0.5, 0.7, 1.0]),
    depths=st.sampled_from([(1.0, 3.0, 9.0), (2.0,)]),
)
def test_counts_equal_brute_force(seed, turn, stride, hit_overlap, depths):
    views = random_walk(40, seed, turn_rad=turn, stride=stride)
    table = OverlapTable(views, OverlapSampling(depths=depths))
    counts = relevant_counts(views, table, outside(views), hit_overlap).counts
    assert counts.tolist() == brute(views, table, outside(views), hit_overlap)


@pytest.mark.parametrize("path", PATHS)
def test_counts_equal_brute_force_on_long_paths(path):
    views = lingbot_views(PATHS[path](900))
    table = OverlapTable(views, OverlapSampling())
    past = outside(views, first=2, recent=2)
    counts = relevant_counts(views, table, past, 0.5).counts
    assert counts.tolist() == brute(views, table, past, 0.5)
    assert 0 < counts.sum() < sum(map(len, past))


def test_views_that_come_back_are_tested_once(monkeypatch):
    views = spin(60, step_deg=10.0)  # twelve chunks a turn
    tested = []
    real = relevance._Spheres.relevant
    monkeypatch.setattr(
        relevance._Spheres,
        "relevant",
        lambda self, chunks, others: tested.extend(chunks) or real(self, chunks, others),
    )
    table = OverlapTable(views, OverlapSampling())
    counts = relevant_counts(views, table, outside(views), 0.5).counts
    assert counts.tolist() == brute(views, table, outside(views), 0.5)
    assert len(tested) == 12


def test_most_pairs_are_settled_without_their_points(monkeypatch):
    views = lingbot_views(PATHS["walk"](1500))
    table = OverlapTable(views, OverlapSampling())
    pairs = []
    real = table.visible
    monkeypatch.setattr(
        table, "visible", lambda chunk, others: pairs.append(len(others)) or real(chunk, others)
    )
    relevant_counts(views, table, outside(views), 0.5)
    assert sum(pairs) < 0.05 * sum(map(len, outside(views)))


@pytest.mark.parametrize("block", ["BLOCK_COMING", "BLOCK_PAST", "BLOCK_UNSETTLED"])
def test_blocks_do_not_show(monkeypatch, block):
    views = random_walk(30, seed=5)
    table = OverlapTable(views, OverlapSampling())
    whole = relevant_counts(views, table, outside(views), 0.5).counts
    monkeypatch.setattr(relevance, block, 3)
    np.testing.assert_array_equal(relevant_counts(views, table, outside(views), 0.5).counts, whole)


def test_far_from_the_origin_the_counts_are_the_same():
    near = random_walk(30, seed=6)
    c2w = near.c2w.copy()
    c2w[:, :3, 3] += [1e5, -2e5, 3e5]
    far = type(near)(c2w=c2w, intrinsics=near.intrinsics, image_size=near.image_size, grid=near.grid)
    table = OverlapTable(far, OverlapSampling())
    counts = relevant_counts(far, table, outside(far), 0.5).counts
    assert counts.tolist() == brute(far, table, outside(far), 0.5)


def test_nothing_outside_nothing_counted():
    views = viewpoints(np.tile(np.eye(4), (6, 1, 1)))
    table = OverlapTable(views, OverlapSampling())
    found = relevant_counts(views, table, [range(1, 1), range(1, 1)], 0.5)
    assert (found.counts.tolist(), found.every) == ([0, 0], 1)


@pytest.mark.parametrize("path", ["walk", "patrol"])
def test_of_very_long_rollouts_every_so_many_th_chunk_stands_for_the_next_ones(monkeypatch, path):
    views = lingbot_views(PATHS[path](900))
    table = OverlapTable(views, OverlapSampling())
    past = outside(views, first=2, recent=2)
    exact = relevant_counts(views, table, past, 0.5)
    monkeypatch.setattr(relevance, "EXACT_VIEWS", 80)
    found = relevant_counts(views, table, past, 0.5)
    assert (exact.every, found.every) == (1, 4)
    standing = 3 * (np.arange(300) // 4 * 4)[:, None] + np.arange(3)
    still = lingbot_views(views.c2w[standing.reshape(-1)])
    assert found.counts.tolist() == brute(still, OverlapTable(still, OverlapSampling()), past, 0.5)
    # As an estimate of the true counts: all in all within a few per cent.
    assert abs(found.counts.sum() - exact.counts.sum()) < 0.03 * exact.counts.sum()


def test_laps_stay_exact_however_long():
    """Only different views count: a camera on rails is never thinned."""
    views = spin(4000, step_deg=10.0)
    table = OverlapTable(views, OverlapSampling())
    found = relevant_counts(views, table, outside(views), 0.5)
    assert found.every == 1
    lap = relevant_counts(spin(48, step_deg=10.0), table, outside(spin(48, step_deg=10.0)), 0.5)
    assert (np.diff(found.counts[14:]) >= 0).all()
    assert found.counts[:48].tolist() == lap.counts.tolist()
