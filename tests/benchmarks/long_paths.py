"""Synthetic camera paths of any length, at the size of LingBot: 832x480 pixels, 30x52 tokens."""

from __future__ import annotations

import numpy as np

from core.memory.viewpoints import Viewpoints

STRIDE = 0.12
"""Units walked between latent frames."""


def lingbot_views(c2w: np.ndarray, grid: tuple[int, int] = (30, 52)) -> Viewpoints:
    intrinsics = np.tile([415.53, 415.69, 415.78, 239.78], (len(c2w), 1))
    return Viewpoints(c2w=c2w, intrinsics=intrinsics, image_size=(832, 480), grid=grid)


def loop(frames: int, lap_frames: int = 600) -> np.ndarray:
    """Round and round a large circle, looking ahead."""
    turn = np.arange(frames) * 2 * np.pi / lap_frames
    radius = lap_frames * STRIDE / (2 * np.pi)
    return _c2w(-turn, radius * np.cos(turn), radius * np.sin(turn))


def orbit(frames: int, lap_frames: int = 300) -> np.ndarray:
    """Round and round a point, looking at it."""
    turn = np.arange(frames) * 2 * np.pi / lap_frames
    return _c2w(-turn, 4 * np.sin(turn), -4 * np.cos(turn))


def walk(frames: int, seed: int = 0) -> np.ndarray:
    """Straight stretches, curves, and turns on the spot at random: no view ever comes back exactly."""
    rng = np.random.default_rng(seed)
    turn, step, at = np.zeros(frames), np.zeros(frames), 0
    while at < frames:
        stretch = slice(at, at + rng.integers(5, 40))
        kind = rng.integers(3)
        step[stretch] = STRIDE if kind != 1 else 0
        turn[stretch] = np.deg2rad([0, 5, 2][kind]) * rng.choice([-1, 1])
        at = stretch.stop
    yaw = np.cumsum(turn)
    return _c2w(yaw, np.cumsum(step * np.sin(yaw)), np.cumsum(step * np.cos(yaw)))


def patrol(frames: int, seed: int = 1) -> np.ndarray:
    """From home along a new winding path each time, a turn about, and the same way back."""
    rng = np.random.default_rng(seed)
    legs: list[np.ndarray] = []
    while sum(map(len, legs)) < frames:
        length = int(rng.integers(60, 240))
        bends = np.repeat(rng.normal(0, np.deg2rad(3), length // 10 + 1), 10)[:length]
        yaw = rng.uniform(0, 2 * np.pi) + np.cumsum(bends)
        x, z = np.cumsum(STRIDE * np.sin(yaw)), np.cumsum(STRIDE * np.cos(yaw))
        about = np.linspace(0, np.pi, 36)
        legs += [
            _c2w(yaw, x, z),
            _c2w(yaw[-1] + about, np.full(36, x[-1]), np.full(36, z[-1])),
            _c2w((yaw + np.pi)[::-1], x[::-1], z[::-1]),
            _c2w(yaw[0] + np.pi + about, np.full(36, x[0]), np.full(36, z[0])),
        ]
    return np.concatenate(legs)[:frames]


PATHS = {"loop": loop, "orbit": orbit, "walk": walk, "patrol": patrol}


def _c2w(yaw_rad: np.ndarray, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    c2w = np.zeros((len(yaw_rad), 4, 4))
    c2w[:, 0, 0] = c2w[:, 2, 2] = np.cos(yaw_rad)
    c2w[:, 0, 2], c2w[:, 2, 0] = np.sin(yaw_rad), -np.sin(yaw_rad)
    c2w[:, 1, 1] = c2w[:, 3, 3] = 1
    c2w[:, 0, 3], c2w[:, 2, 3] = x, z
    return c2w
