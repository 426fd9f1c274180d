"""The distance of `Rays`, one pair of rays at a time."""

import math

import numpy as np

from core.memory.strategies.ray_depths import nearest_depth
from core.memory.strategies.rays import Rays
from core.memory.viewpoints import Viewpoints


def naive_distance(
    rays: Rays, views: Viewpoints, ray: np.ndarray, coming: int, stored: np.ndarray, frame: int
) -> float:
    """Between a ray of a coming frame and a stored ray of a past one."""
    offset = views.positions[coming] - views.positions[frame]
    aim, half = naive_arc(rays, views, ray, offset)
    return angle(aim, stored) + half + rays.translation_weight * float(np.linalg.norm(offset))


def naive_arc(rays: Rays, views: Viewpoints, ray: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, float]:
    """Middle and half angle of where the ray's surface may be seen from a camera that far away."""
    near = nearest_depth(views) if rays.near_depth is None else rays.near_depth
    if math.isinf(near):
        return ray, 0.0
    nearest = near * ray + offset
    nearest = nearest / np.linalg.norm(nearest)
    middle = ray + nearest
    return middle / np.linalg.norm(middle), angle(ray, nearest) / 2


def angle(one: np.ndarray, other: np.ndarray) -> float:
    """In radians."""
    return float(np.arccos(np.clip(one @ other, -1, 1)))


def few_copies(rays: Rays, row: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """What a query may take of (level, age, token, frame), nearest first."""
    allowed: list[tuple[int, int, int, int]] = []
    for entry in sorted(row):
        same_chunk = sum(other[3] // 3 == entry[3] // 3 for other in allowed)
        if same_chunk < (rays.chunk_copies or math.inf):
            allowed.append(entry)
    return allowed[: rays.copies]
