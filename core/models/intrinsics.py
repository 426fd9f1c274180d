"""Intrinsics of a trajectory for pictures of another size."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from trajectories import Trajectory


def cropped_intrinsics(trajectory: Trajectory, size: tuple[int, int]) -> Float64[np.ndarray, "frames 4"]:
    """fx, fy, cx, cy in pixels of `size` (width, height): scaled, cropped around the middle to its shape."""
    scale = max(size[0] / trajectory.image_size[0], size[1] / trajectory.image_size[1])
    intrinsics: Float64[np.ndarray, "frames 4"] = trajectory.intrinsics * scale
    intrinsics[:, 2] -= (trajectory.image_size[0] * scale - size[0]) / 2
    intrinsics[:, 3] -= (trajectory.image_size[1] * scale - size[1]) / 2
    return intrinsics
