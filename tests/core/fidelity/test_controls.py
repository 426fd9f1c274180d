"""Controls that are matched to their revisits in gap and time."""

import numpy as np
import pytest

from core.fidelity import controls as searched
from core.fidelity.controls import GRID_FRAMES, SLACK_FRAMES, matched_controls, matched_couples
from core.fidelity.pairs import FramePair, revisit_pairs, view_distance
from tests.core.fidelity.scenes import OUT_AND_BACK, turning

LAPS = turning(np.tile(np.arange(0, 360, 4.0), 4))


def test_other_places_at_about_the_same_gap_and_time() -> None:
    pairs = revisit_pairs(LAPS)
    controls = matched_controls(LAPS, pairs)
    assert len(controls) == len(pairs) == 64
    later, earlier = (np.array([getattr(c, name) for c in controls]) for name in ("later", "earlier"))
    assert view_distance(LAPS[later], LAPS[earlier]).min() >= 0.3
    # 54 degrees are 14 frames: no control needs to be farther off than that, and the slack.
    for pair, control in zip(pairs, controls, strict=True):
        off = abs(pair.later - control.later) + abs(pair.gap_frames - control.gap_frames)
        assert off <= 14 + SLACK_FRAMES


def test_laps_that_repeat_exactly_are_not_judged_at_their_end() -> None:
    """Of exactly the gap of a lap there is nothing but the revisit itself."""
    pairs = revisit_pairs(LAPS)
    middle = np.mean([pair.later for pair in pairs])
    assert abs(np.mean([c.later for c in matched_controls(LAPS, pairs)]) - middle) < 10


def test_each_serves_once() -> None:
    controls = matched_controls(LAPS, revisit_pairs(LAPS))
    assert len(set(controls)) == len(controls)


def test_the_seed_decides() -> None:
    pairs = revisit_pairs(LAPS)
    assert matched_controls(LAPS, pairs) == matched_controls(LAPS, pairs)
    assert matched_controls(LAPS, pairs) != matched_controls(LAPS, pairs, seed=1)


def test_later_frames_of_controls_are_generated() -> None:
    pairs = revisit_pairs(LAPS, given_frames=200)
    controls = matched_controls(LAPS, pairs, given_frames=200)
    assert len(controls) == len(pairs)
    assert min(control.later for control in controls) >= 200


def test_camera_that_never_looks_elsewhere_has_none() -> None:
    pair = [FramePair(later=60, earlier=0)]
    assert matched_controls(turning(np.zeros(80)), pair) == []
    assert matched_controls(turning(np.linspace(0, 40, 80)), pair) == []  # 40 degrees are 0.22
    assert matched_controls(LAPS, []) == []


def test_a_lone_glance_elsewhere_is_found_however_far() -> None:
    yaws = np.zeros(400)
    yaws[390:] = 90.0
    (control,) = matched_controls(turning(yaws), [FramePair(later=60, earlier=0)])
    assert control.later >= 390


def test_an_even_path_gets_the_gaps_of_its_pairs() -> None:
    c2w = turning(np.tile(OUT_AND_BACK, 3))
    pairs = revisit_pairs(c2w)
    gaps, ours = (np.mean([p.gap_frames for p in some]) for some in (pairs, matched_controls(c2w, pairs)))
    assert abs(gaps - ours) < 20


def counted_rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many views every call compares from now on."""
    rows: list[int] = []

    def count(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        rows.append(len(a))
        return view_distance(a, b)

    monkeypatch.setattr(searched, "view_distance", count)
    return rows


@pytest.mark.parametrize("num_frames", [3000, 20_000])
def test_a_path_of_views_that_are_all_near_is_not_compared_whole(
    num_frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays between the 27 degrees of a revisit and the 54 of a control from its start."""
    c2w = turning(25 * (1 - np.cos(np.arange(num_frames) / 100)))
    rows = counted_rows(monkeypatch)
    assert matched_controls(c2w, [FramePair(1500 + i, 200) for i in range(3)]) == []
    assert sum(rows) < num_frames + GRID_FRAMES**2 / 2 + 3 * 60_000


def test_a_glance_elsewhere_in_a_long_path(monkeypatch: pytest.MonkeyPatch) -> None:
    yaws = np.zeros(20_000)
    yaws[19_900:] = 90.0
    rows = counted_rows(monkeypatch)
    (couple,) = matched_couples(turning(yaws), [FramePair(later=1000, earlier=0)])
    assert couple[0] == FramePair(later=1000, earlier=0)
    assert couple[1].later >= 19_900
    assert sum(rows) < 20_000 + GRID_FRAMES**2 / 2 + 60_000


def test_couples_are_the_pairs_with_their_controls() -> None:
    pairs = revisit_pairs(LAPS)
    assert matched_couples(LAPS, pairs) == list(zip(pairs, matched_controls(LAPS, pairs), strict=True))
