"""Which frames are compared."""

import numpy as np
import pytest

from core.fidelity.pairs import FramePair, revisit_pairs, view_distance
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
