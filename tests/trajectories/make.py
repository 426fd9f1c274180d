"""Short ways to write trajectories in tests."""

import numpy as np

import trajectories
from trajectories import Trajectory
from trajectories.geometry import angles_from_rotations


def make(*steps: str, header: str = "") -> Trajectory:
    """Compile steps, one a line, under a header of further lines."""
    lines = ["version: 1", *header.splitlines(), "steps:", *(f"  - {step}" for step in steps), ""]
    return trajectories.parse("\n".join(lines), source="t.yaml")


def yaw_deg(trajectory: Trajectory) -> np.ndarray:
    """Yaw of every frame, in (-180, 180]."""
    return angles_from_rotations(trajectory.c2w[:, :3, :3])[:, 0]


def pitch_deg(trajectory: Trajectory) -> np.ndarray:
    """Pitch of every frame."""
    return angles_from_rotations(trajectory.c2w[:, :3, :3])[:, 1]


def position(trajectory: Trajectory) -> np.ndarray:
    """Position of every frame, [frames, 3]."""
    return trajectory.c2w[:, :3, 3]
