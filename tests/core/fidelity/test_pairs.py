"""Which frames are compared."""

import numpy as np
import pytest

from core.fidelity.pairs import FramePair, control_pairs, revisit_pairs, view_distance
from tests.core.fidelity.scenes import OUT_AND_BACK, turning


class TestPairs:
    def test_out_and_back_meets_its_own_views(self) -> None:
        c2w = turning(OUT_AND_BACK)
        pairs = revisit_pairs(c2w, max_distance=0.02)
        assert FramePair(later=90, earlier=0) in pairs
        assert {OUT_AND_BACK[pair.later] - OUT_AND_BACK[pair.earlier] for pair in pairs} <= {0.0, -2.0, 2.0}
        assert min(pair.gap_frames for pair in pairs) >= 30

    def test_at_most_max_pairs_spread_over_the_rollout(self) -> None:
        c2w = turning(np.tile(OUT_AND_BACK, 10))
        pairs = revisit_pairs(c2w, max_pairs=64)
        assert len(pairs) == 64
        assert pairs[0].later < 100
        assert pairs[-1].later == len(c2w) - 1

    def test_no_return_no_pairs(self) -> None:
        assert revisit_pairs(turning(np.arange(0.0, 90.0))) == []

    def test_controls_look_elsewhere_at_the_same_gaps(self) -> None:
        c2w = turning(OUT_AND_BACK)
        pairs = revisit_pairs(c2w)
        controls = control_pairs(c2w, pairs)
        assert len(controls) == len(pairs)
        later, earlier = (
            np.array([getattr(each, name) for each in controls]) for name in ("later", "earlier")
        )
        assert view_distance(c2w[later], c2w[earlier]).min() >= 0.3
        gaps = [(one.gap_frames, other.gap_frames) for one, other in zip(pairs, controls, strict=True)]
        near = [abs(a - b) for a, b in gaps]
        assert np.mean(near) < 25
        assert sum(a == b for a, b in gaps) > len(gaps) / 2
        assert controls == control_pairs(c2w, pairs)
        assert controls != control_pairs(c2w, pairs, seed=1)

    def test_laps_that_repeat_exactly_take_the_nearest_gap(self) -> None:
        c2w = turning(np.tile(np.arange(0, 360, 6.0), 3))  # at a gap of 60 every pair is a revisit
        (control,) = control_pairs(c2w, [FramePair(later=60, earlier=0)])
        assert control.gap_frames == 51  # 54 degrees

    def test_camera_that_never_looks_elsewhere_has_no_controls(self) -> None:
        c2w = turning(np.zeros(80))
        assert control_pairs(c2w, [FramePair(later=60, earlier=0)]) == []

    def test_view_distance(self) -> None:
        a, b = turning(np.array([0.0])), turning(np.array([90.0]))
        b[0, :3, 3] = (3.0, 0.0, 4.0)
        assert view_distance(a, b) == pytest.approx([5.5])

    def test_given_frames_are_first_visits_only(self) -> None:
        c2w = turning(OUT_AND_BACK)
        everything = revisit_pairs(c2w)
        pairs = revisit_pairs(c2w, given_frames=75)
        assert pairs == [pair for pair in everything if pair.later >= 75]
        assert len(everything) > len(pairs) > 0
