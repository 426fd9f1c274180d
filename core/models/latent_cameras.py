"""Cameras of latent frames, where a latent frame spans several video frames."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from trajectories.quaternions import quaternions_from_rotations, rotations_from_quaternions, slerp


def latent_times(num_video_frames: int, num_latent_frames: int) -> Float64[np.ndarray, " latent"]:
    """Video frames at which the latent frames stand, from the first to the last, evenly.

    With `num_video_frames` = 4 (F - 1) + 1 and F latent frames these are every fourth one exactly.
    """
    times = np.linspace(0.0, num_video_frames - 1, num_latent_frames)
    return np.asarray(times, dtype=np.float64)


def cameras_at(
    c2w: Float64[np.ndarray, "frames 4 4"], times: Float64[np.ndarray, " latent"]
) -> Float64[np.ndarray, "latent 4 4"]:
    """Cameras between video frames: positions linearly, rotations along the shorter arc."""
    before, share = _legs(times, len(c2w))
    after = np.minimum(before + 1, len(c2w) - 1)
    turned = slerp(
        quaternions_from_rotations(c2w[before, :3, :3]),
        quaternions_from_rotations(c2w[after, :3, :3]),
        share,
    )
    found: Float64[np.ndarray, "latent 4 4"] = c2w[before].copy()
    between = share > 0  # elsewhere the camera is taken as it is, to the last bit
    found[between, :3, :3] = rotations_from_quaternions(turned)[between]
    found[:, :3, 3] += share[:, None] * (c2w[after, :3, 3] - c2w[before, :3, 3])
    return found


def rows_at(
    values: Float64[np.ndarray, "frames columns"], times: Float64[np.ndarray, " latent"]
) -> Float64[np.ndarray, "latent columns"]:
    """Values between video frames, linearly."""
    before, share = _legs(times, len(values))
    after = np.minimum(before + 1, len(values) - 1)
    mixed: Float64[np.ndarray, "latent columns"] = values[before] + share[:, None] * (
        values[after] - values[before]
    )
    return mixed


def _legs(
    times: Float64[np.ndarray, " latent"], num_frames: int
) -> tuple[np.ndarray, Float64[np.ndarray, " latent"]]:
    """Frame before each time, and how far it is to the next one. Range: [0, 1)."""
    before = np.clip(np.floor(times).astype(np.int64), 0, num_frames - 1)
    return before, times - before
