"""Controls that are matched to their revisits in gap and time."""

import numpy as np

from core.fidelity.controls import SLACK_FRAMES, matched_controls
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
