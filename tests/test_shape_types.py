"""Proves that shapes in signatures are really checked while the tests run (tests/conftest.py)."""

import jaxtyping
import numpy as np
import pytest

from core.video.writer import Mp4Writer
from trajectories.geometry import step_lengths


def test_core_is_checked(tmp_path) -> None:
    with Mp4Writer(tmp_path / "video.mp4", 4, 2, 16.0, overwrite=False) as writer:
        writer.push(np.zeros((1, 2, 4, 3), np.uint8))
        with pytest.raises(jaxtyping.TypeCheckError):
            writer.push(np.zeros((2, 4, 3), np.uint8))  # one axis short
        with pytest.raises(jaxtyping.TypeCheckError):
            writer.push(np.zeros((1, 2, 4, 3), np.float32))  # wrong type


def test_trajectories_are_checked() -> None:
    assert step_lengths(np.stack([np.eye(4)] * 3)).tolist() == [0.0, 0.0]
    with pytest.raises(jaxtyping.TypeCheckError):
        step_lengths(np.zeros((3, 4, 3)))
