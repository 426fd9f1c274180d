import numpy as np
import pytest


@pytest.fixture
def frames() -> np.ndarray:
    """40 frames of 64x48: a picture that moves and has colours that tell RGB from BGR."""
    y, x = np.mgrid[:48, :64]
    return np.stack(
        [np.stack([(3 * x + 2 * t) % 256, (5 * y) % 256, np.full_like(x, 40 + t)], -1) for t in range(40)]
    ).astype(np.uint8)
