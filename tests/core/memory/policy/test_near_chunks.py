"""Coverage of long rollouts: a short list of candidates, made from near cameras."""

import numpy as np
import pytest

from core.memory.overlap import OverlapSampling, OverlapTable
from core.memory.strategies import coverage
from core.memory.strategies.coverage import Coverage
from core.memory.strategies.near_chunks import near_chunks
from tests.benchmarks.long_paths import PATHS, lingbot_views
from tests.core.memory.policy.cameras import random_walk, spin


def listed(views, asked, count):
    return list(near_chunks(views, asked, count=count, weight=0.3))


def test_all_candidates_are_listed_while_they_are_few():
    views = random_walk(40, seed=1)
    asked = [(chunk, range(1, max(1, chunk - 1))) for chunk in range(40)]
    for (_, past), found in zip(asked, listed(views, asked, 38), strict=True):
        assert found.tolist() == list(past)


def test_of_laps_the_oldest_views_are_listed_once():
    views = spin(400)  # 12 chunks a turn
    (found,) = listed(views, [(399, range(1, 398))], 20)
    assert found.tolist() == list(range(1, 13))


@pytest.mark.parametrize("path", ["walk", "patrol"])
def test_lists_hold_the_nearest_cameras(path):
    views = lingbot_views(PATHS[path](1200))
    asked = [(chunk, range(1, chunk - 2)) for chunk in range(150, 400, 25)]
    for (chunk, past), found in zip(asked, listed(views, asked, 64), strict=True):
        assert 40 <= len(found) < 68
        assert set(found.tolist()) <= set(past)
        assert (np.diff(found) > 0).all()
        middle = 3 * np.arange(400) + 1
        turned = np.arccos(np.clip(views.forwards[middle] @ views.forwards[middle[chunk]], -1, 1))
        moved = np.linalg.norm(views.positions[middle] - views.positions[middle[chunk]], axis=1)
        cost = 0.3 * moved + np.maximum(0, turned - 0.6)
        best = past.start + int(np.argmin(cost[past.start : past.stop]))
        assert cost[found].min() <= cost[best] + 0.1


@pytest.mark.parametrize("choose", [Coverage(), Coverage(num_chunks=5, min_gain=0.01)])
def test_all_at_once_equals_one_by_one(choose):
    views = random_walk(90, seed=7, stride=0.05)
    asked = [(chunk, range(1, max(1, chunk - 1))) for chunk in range(90)]
    together = list(choose.select_all(views, asked, 10**6))
    for (chunk, past), selections in zip(asked, together, strict=True):
        apart = choose.select(views, chunk, past, 10**6)
        assert [(s.chunk, s.score) for s in selections] == [(s.chunk, s.score) for s in apart]


@pytest.mark.parametrize("path", PATHS)
def test_the_short_list_costs_next_to_no_coverage(monkeypatch, path):
    views = lingbot_views(PATHS[path](900))
    table = OverlapTable(views, OverlapSampling())
    asked = [(chunk, range(1, chunk - 2)) for chunk in range(120, 300, 20)]

    def seen():
        chosen = Coverage(min_gain=0.01).select_all(views, asked, 10**6)
        return [
            table.visible(chunk, [s.chunk for s in selections]).any(axis=0).mean()
            for (chunk, _), selections in zip(asked, chosen, strict=True)
        ]

    short = np.mean(seen())
    monkeypatch.setattr(coverage, "LISTED_CHUNKS", 10**6)
    assert short >= np.mean(seen()) - 0.03
