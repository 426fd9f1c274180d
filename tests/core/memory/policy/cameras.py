"""Analytic cameras for tests: 64x48 pixels, 90 degrees wide."""

from collections.abc import Sequence

import numpy as np

from core.memory.footprint import Footprint
from core.memory.layout import MemoryMode, WindowLayout
from core.memory.viewpoints import Viewpoints

GRID = (3, 4)


def yaw_c2w(yaw_deg: Sequence[float], positions: np.ndarray | None = None) -> np.ndarray:
    angle = np.deg2rad(np.asarray(yaw_deg, dtype=np.float64))
    c2w = np.zeros((len(angle), 4, 4))
    c2w[:, 0, 0] = c2w[:, 2, 2] = np.cos(angle)
    c2w[:, 0, 2], c2w[:, 2, 0] = np.sin(angle), -np.sin(angle)
    c2w[:, 1, 1] = c2w[:, 3, 3] = 1
    if positions is not None:
        c2w[:, :3, 3] = positions
    return c2w


def viewpoints(c2w: np.ndarray, grid: tuple[int, int] = GRID, focal: float = 32.0) -> Viewpoints:
    intrinsics = np.tile(np.array([focal, focal, 32.0, 24.0]), (len(c2w), 1))
    return Viewpoints(c2w=c2w, intrinsics=intrinsics, image_size=(64, 48), grid=grid)


def spin(num_chunks: int, step_deg: float = 10.0, grid: tuple[int, int] = GRID) -> Viewpoints:
    return viewpoints(yaw_c2w(step_deg * np.arange(3 * num_chunks)), grid)


def random_walk(
    num_chunks: int, seed: int, grid: tuple[int, int] = GRID, turn_rad: float = 0.5, stride: float = 0.2
) -> Viewpoints:
    """A walk that also pitches and zooms."""
    rng = np.random.default_rng(seed)
    frames = 3 * num_chunks
    yaw = yaw_c2w(np.rad2deg(np.cumsum(rng.normal(0, turn_rad, frames))))
    pitch = np.zeros((frames, 4, 4))
    tilt = rng.normal(0, 0.2, frames)
    pitch[:, 0, 0] = pitch[:, 3, 3] = 1
    pitch[:, 1, 1] = pitch[:, 2, 2] = np.cos(tilt)
    pitch[:, 1, 2], pitch[:, 2, 1] = -np.sin(tilt), np.sin(tilt)
    c2w = yaw @ pitch
    c2w[:, :3, 3] = np.cumsum(rng.normal(0, stride, (frames, 3)), axis=0)
    intrinsics = np.tile(np.array([32.0, 32.0, 32.0, 24.0]), (frames, 1))
    intrinsics[:, :2] *= rng.uniform(0.8, 1.5, (frames, 1))
    return Viewpoints(c2w=c2w, intrinsics=intrinsics, image_size=(64, 48), grid=grid)


def footprint(grid: tuple[int, int] = GRID) -> Footprint:
    return Footprint(
        num_layers=2, num_heads=2, head_dim=4, grid=grid, kv_element_bytes=4, parameter_bytes=100
    )


def worldkv_layout(views: Viewpoints, retrieve_tokens: int, **changes: object) -> WindowLayout:
    settings: dict = {
        "mode": MemoryMode.WORLDKV,
        "num_frames": views.num_frames,
        "tokens_per_frame": views.tokens_per_frame,
        "sink_frames": 3,
        "recent_frames": 3,
        "retrieve_tokens": retrieve_tokens,
    }
    return WindowLayout(**(settings | changes))
