"""How sure a mean is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from core.errors import InputError


def bootstrap_ci(
    values: Sequence[float] | Float64[np.ndarray, " values"],
    *,
    seed: int = 0,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
) -> tuple[float, float]:
    """Confidence interval of the mean: percentiles of the means of samples drawn with replacement.

    Draw over rollouts, not over the pairs of one rollout: those are not independent.

    Raises:
        InputError: There are no values, or one is not finite.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0 or not np.isfinite(sample).all():
        raise InputError(
            f"an interval needs finite values, got {sample.size} of them", hint="leave out empty runs"
        )
    rng = np.random.default_rng(seed)
    means = rng.choice(sample, (num_resamples, sample.size)).mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def mean_interval(
    values: Sequence[float] | Float64[np.ndarray, " values"], *, seed: int = 0
) -> tuple[float, float] | None:
    """95% interval of the mean over rollouts; None where there are fewer than two, which tell no spread."""
    return bootstrap_ci(values, seed=seed) if len(values) > 1 else None
