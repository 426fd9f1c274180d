"""Camera paths of room size, a variation for every seed: 180 frames at eye level."""

from __future__ import annotations

import numpy as np

FRAMES = 180


def turn(seed: int) -> np.ndarray:
    """Turns on the spot."""
    at = np.arange(FRAMES)
    return _c2w(np.deg2rad(5 * at + seed % 5 * np.sin(at / 9)), 0 * at, 0 * at)


def orbit(seed: int) -> np.ndarray:
    """Round and round a point, looking at it."""
    angle = np.arange(FRAMES) * 2 * np.pi / 75.5
    radius = np.random.default_rng(seed).uniform(1, 2)
    return _c2w(-angle, radius * np.sin(angle), -radius * np.cos(angle))


def walk(seed: int) -> np.ndarray:
    """Straight stretches, curves and turns on the spot at random, within six units."""
    rng = np.random.default_rng(seed)
    yaw, step, at = np.zeros(FRAMES), np.zeros(FRAMES), 0
    while at < FRAMES:
        stretch, kind = slice(at, at + rng.integers(5, 30)), rng.integers(3)
        step[stretch] = 0.12 if kind != 1 else 0
        yaw[stretch] = np.deg2rad([0, 5, 3][kind]) * rng.choice([-1, 1])
        at = stretch.stop
    yaw = np.cumsum(yaw)
    x, z = np.cumsum(step * np.sin(yaw)), np.cumsum(step * np.cos(yaw))
    shrink = min(1.0, 6 / max(np.ptp(x), np.ptp(z)))
    return _c2w(yaw, x * shrink, z * shrink)


def strafe(seed: int) -> np.ndarray:
    """To the right and back, and again, looking ahead."""
    rng, at = np.random.default_rng(seed), np.arange(FRAMES)
    along = np.abs((at * 0.07 + rng.uniform(0, 2)) % 4 - 2)
    yaw = rng.uniform(0, 2 * np.pi) + 0.15 * np.sin(at / 17)
    return _c2w(yaw, along * np.cos(yaw[0]), -along * np.sin(yaw[0]))


def patrol(seed: int) -> np.ndarray:
    """From home along a new winding path each time, a turn about, and the same way back."""
    rng = np.random.default_rng(seed)
    legs: list[np.ndarray] = []
    while sum(map(len, legs)) < FRAMES:
        length = int(rng.integers(20, 40))
        bends = np.repeat(rng.normal(0, np.deg2rad(3), length // 10 + 1), 10)[:length]
        yaw = rng.uniform(0, 2 * np.pi) + np.cumsum(bends)
        x, z = np.cumsum(0.1 * np.sin(yaw)), np.cumsum(0.1 * np.cos(yaw))
        about, still = np.linspace(0, np.pi, 18), np.ones(18)
        legs += [
            _c2w(yaw, x, z),
            _c2w(yaw[-1] + about, x[-1] * still, z[-1] * still),
            _c2w((yaw + np.pi)[::-1], x[::-1], z[::-1]),
            _c2w(yaw[0] + np.pi + about, x[0] * still, z[0] * still),
        ]
    return np.concatenate(legs)[:FRAMES]


def dolly(seed: int) -> np.ndarray:
    """Forwards and backwards along ways that never quite repeat."""
    at = np.arange(FRAMES)
    sway = 0.5 * np.sin(at / 23 + np.random.default_rng(seed).uniform(0, 2 * np.pi))
    return _c2w(0.4 * np.sin(at / 31), sway, np.abs((at * 0.08) % 6 - 3))


ROOM_PATHS = {"turn": turn, "orbit": orbit, "walk": walk, "strafe": strafe, "patrol": patrol, "dolly": dolly}


def _c2w(yaw_rad: np.ndarray, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    c2w = np.zeros((len(yaw_rad), 4, 4))
    c2w[:, 0, 0] = c2w[:, 2, 2] = np.cos(yaw_rad)
    c2w[:, 0, 2], c2w[:, 2, 0] = np.sin(yaw_rad), -np.sin(yaw_rad)
    c2w[:, 1, 1] = c2w[:, 3, 3] = 1
    c2w[:, 0, 3], c2w[:, 2, 3] = x, z
    return c2w
