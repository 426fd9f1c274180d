"""How sure a mean is."""

import numpy as np
import pytest

from core.errors import InputError
from core.fidelity.intervals import bootstrap_ci, mean_interval


class TestBootstrap:
    def test_covers_the_mean(self) -> None:
        rng = np.random.default_rng(3)
        covered = 0
        for seed in range(100):
            low, high = bootstrap_ci(rng.normal(5.0, 2.0, 32), seed=seed, num_resamples=400)
            covered += low <= 5.0 <= high
        assert 86 <= covered <= 100

    def test_is_deterministic(self) -> None:
        assert bootstrap_ci([1.0, 2.0, 4.0], seed=7) == bootstrap_ci([1.0, 2.0, 4.0], seed=7)

    def test_one_value_has_no_spread(self) -> None:
        assert bootstrap_ci([3.5]) == (3.5, 3.5)

    @pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
    def test_refuses(self, values: list[float]) -> None:
        with pytest.raises(InputError, match="an interval needs finite values"):
            bootstrap_ci(values)


def test_a_single_rollout_has_no_interval() -> None:
    assert mean_interval([3.5]) is None
    assert mean_interval([]) is None
    low, high = mean_interval([1.0, 2.0, 4.0]) or (0.0, 0.0)
    assert 1.0 <= low < 7 / 3 < high <= 4.0
