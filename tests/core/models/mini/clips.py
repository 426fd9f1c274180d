"""Seeds for tests of the training data."""

import numpy as np


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)
