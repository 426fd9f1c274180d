import numpy as np
import pytest

from core.errors import InputError
from core.memory.overlap import OverlapSampling, OverlapTable
from core.memory.strategies import strategy
from core.memory.strategies.coverage import Coverage
from core.memory.strategies.pose import Pose
from core.memory.strategies.rays import Rays
from tests.benchmarks.long_paths import PATHS, lingbot_views
from tests.core.memory.policy.cameras import random_walk, spin, viewpoints, yaw_c2w


def chunks(selections):
    return [selection.chunk for selection in selections]


@pytest.mark.parametrize(("name", "cls"), [("pose", Pose), ("coverage", Coverage), ("rays", Rays)])
def test_strategies_by_name(name, cls):
    assert strategy(name)() == cls()
    assert strategy(name)().whole_chunks == (name != "rays")


def test_an_unknown_strategy_names_the_nearest():
    with pytest.raises(InputError, match="unknown retrieval strategy 'poes'") as error:
        strategy("poes")
    assert error.value.hint == "did you mean pose? known: pose, coverage, rays"
    with pytest.raises(InputError) as error:
        strategy("xyz")
    assert error.value.hint == "known: pose, coverage, rays"


@pytest.mark.parametrize("bad", [{"num_chunks": 0}, {"min_gain": 0.0}, {"min_gain": 1.5}, {"num_chunks": -1}])
def test_impossible_settings_are_refused(bad):
    with pytest.raises(InputError):
        Coverage(**bad)
    if "num_chunks" in bad:
        with pytest.raises(InputError):
            Pose(**bad)


@pytest.mark.parametrize("choose", [Pose(num_chunks=1), Coverage(num_chunks=1)])
def test_a_full_turn_comes_home(choose):
    views = spin(36)  # 30 degrees a chunk: chunk c looks like chunk c - 12
    for chunk in range(14, 36):
        assert chunks(choose.select(views, chunk, range(1, chunk - 1), 36)) == [(chunk - 1) % 12 + 1]


@pytest.mark.parametrize("choose", [Pose(num_chunks=2), Coverage(num_chunks=2)])
def test_no_candidates_no_selection(choose):
    assert choose.select(spin(3), 2, range(0), 72) == []


def test_pose_gives_ties_to_the_older_chunk():
    views = viewpoints(yaw_c2w(np.repeat([0, 20, -20, 0, 20, 0], 3)))
    picked = Pose(num_chunks=3).select(views, 5, range(5), 108)
    assert chunks(picked) == [0, 3, 1]
    assert [s.score for s in picked] == pytest.approx([0, 0, 0.5], abs=1e-7)
    assert chunks(Pose(num_chunks=4).select(views, 5, [1, 2, 4], 108)) == [1, 2, 4]


def test_pose_weighs_turning_and_moving_alike():
    positions = np.repeat(np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 0, 0]], dtype=float), 3, axis=0)
    views = viewpoints(yaw_c2w(np.repeat([90, 0, 0, 0], 3), positions))
    picked = Pose(num_chunks=3).select(views, 3, range(3), 108)
    # position terms 0, 1/4, 1 and angle terms 1, 0, 0, half and half
    assert [(s.chunk, s.score) for s in picked] == [(1, 0.125), (0, 0.5), (2, 0.5)]


def all_at_once(choose, views, first=1, recent=1):
    asked = [(chunk, range(first, max(first, chunk - recent))) for chunk in range(views.num_chunks)]
    together = list(choose.select_all(views, asked, 10**6))
    return asked, together


@pytest.mark.parametrize(
    "views",
    [
        *(random_walk(50, seed) for seed in range(3)),
        spin(60),  # laps: ties everywhere
        viewpoints(yaw_c2w(np.zeros(90))),  # nothing ever moves
        viewpoints(yaw_c2w(7.0 * np.arange(90), np.full((90, 3), 12345.678))),  # turns far from the origin
        lingbot_views(PATHS["patrol"](600)),
        lingbot_views(PATHS["orbit"](600, lap_frames=60)),
    ],
)
@pytest.mark.parametrize("num_chunks", [1, 3, 20])
def test_pose_all_at_once_equals_one_by_one(views, num_chunks):
    choose = Pose(num_chunks=num_chunks)
    asked, together = all_at_once(choose, views)
    for (chunk, past), selections in zip(asked, together, strict=True):
        apart = choose.select(views, chunk, past, 10**6)
        assert chunks(selections) == chunks(apart)
        assert [s.score for s in selections] == pytest.approx([s.score for s in apart], abs=2e-8)


def test_near_duplicates_do_not_crowd_out_coverage():
    # Two views of the left half, one of the right half; the coming chunk looks ahead.
    views = viewpoints(yaw_c2w(np.repeat([-30, -29, 40, 0], 3)))
    assert chunks(Pose(num_chunks=2).select(views, 3, range(3), 72)) == [1, 0]
    assert chunks(Coverage(num_chunks=2).select(views, 3, range(3), 72)) == [0, 2]


def test_coverage_leaves_out_what_adds_nothing():
    views = viewpoints(yaw_c2w(np.repeat([0, 0, 180, 0], 3)))
    picked = Coverage(num_chunks=3).select(views, 3, range(3), 108)
    assert [(s.chunk, s.score) for s in picked] == [(0, 0.0)]
    assert Coverage(num_chunks=3).select(views, 3, [2], 108) == []


@pytest.mark.parametrize("seed", range(4))
def test_coverage_is_the_greedy_cover(seed):
    views, sampling = random_walk(12, seed), OverlapSampling()
    visible = OverlapTable(views, sampling).visible(11, range(10))
    open_points = np.ones(visible.shape[1], dtype=bool)
    expected = []
    for _ in range(4):
        gains = (visible & open_points).mean(axis=1)
        best = int(np.argmax(gains))
        if gains[best] < 0.1:
            break
        expected.append((best, pytest.approx(1 - gains[best])))
        open_points &= ~visible[best]
    picked = Coverage(num_chunks=4, min_gain=0.1).select(views, 11, range(10), 144)
    assert [(s.chunk, s.score) for s in picked] == expected
