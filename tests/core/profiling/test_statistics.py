import pytest

from core.profiling.statistics import Spread, paired_ratio


def test_quartiles() -> None:
    assert Spread.of([4.0, 1.0, 3.0, 2.0, 5.0]) == Spread(3.0, 2.0, 4.0, 5)
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0, 1)
    assert Spread.of([]) is None


def test_ratio_of_pairs_does_not_see_drift() -> None:
    """Twice as slow in every pair, while the machine becomes three times as slow."""
    drift = [1.0, 1.5, 2.0, 3.0]
    found = paired_ratio([2 * d for d in drift], drift)
    assert found is not None
    assert (found.median, found.low, found.high) == pytest.approx((2, 2, 2))


def test_pairs_belong_together() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired_ratio([1.0, 2.0], [1.0])
    assert paired_ratio([1.0], [0.0]) is None
