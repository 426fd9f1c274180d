"""Cameras and pictures that the tests of fidelity share."""

import numpy as np


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def turning(yaws_deg: np.ndarray) -> np.ndarray:
    """Cameras that turn on the spot."""
    c2w = np.stack([np.eye(4)] * len(yaws_deg))
    yaw = np.radians(yaws_deg)
    c2w[:, 0, 0] = c2w[:, 2, 2] = np.cos(yaw)
    c2w[:, 0, 2], c2w[:, 2, 0] = np.sin(yaw), -np.sin(yaw)
    return c2w


OUT_AND_BACK = np.concatenate([np.arange(0, 90, 2.0), np.arange(90, -1, -2.0)])


def panorama_view(panorama: np.ndarray, yaw_deg: float) -> np.ndarray:
    """What a camera sees of a world that is a long picture, 2 columns a degree."""
    start = round(2 * (yaw_deg + 90))
    return panorama[:, start : start + 64]


def smooth_panorama() -> np.ndarray:
    rough = np.random.default_rng(0).normal(size=(48, 500, 3)).cumsum(axis=1).cumsum(axis=0)
    rough = (rough - rough.min()) / (rough.max() - rough.min())
    stripes = 60 * np.sin(np.arange(500) * np.random.default_rng(1).uniform(0.1, 0.4))[None, :, None]
    return np.clip(rough * 195 + 30 + stripes, 0, 255).astype(np.uint8)
