"""Arcs of directions in which a surface of unknown depth may be seen."""

import math

import numpy as np
import pytest

from core.memory.strategies.ray_depths import nearest_depth, towards
from tests.benchmarks.long_paths import PATHS, lingbot_views
from tests.core.memory.policy.cameras import viewpoints, yaw_c2w

AHEAD = np.array([[0.0, 0.0, 1.0]])


def test_a_step_aside_of_one_nearest_depth_opens_an_arc_of_45_degrees():
    middle, half = towards(AHEAD, np.array([[[1.0, 0.0, 0.0]]]))
    assert np.rad2deg(half) == pytest.approx(22.5)
    assert np.rad2deg(np.arctan2(middle[0, 0, 0], middle[0, 0, 2])) == pytest.approx(22.5)


def test_a_step_along_the_ray_opens_none():
    middle, half = towards(AHEAD, np.array([[[0.0, 0.0, 5.0]]]))
    assert half[0, 0] == 0
    np.testing.assert_allclose(middle[0, 0], AHEAD[0])


def test_a_camera_beyond_the_surface_looks_back_at_it():
    """The nearest point lies behind it, the furthest ahead: nothing is known."""
    _, half = towards(AHEAD, np.array([[[0.0, 0.0, -1.5]]]))
    assert np.rad2deg(half[0, 0]) == pytest.approx(90)


def test_no_offset_leaves_the_ray_bit_by_bit():
    rays = np.random.default_rng(0).normal(size=(50, 3))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    middle, half = towards(rays, np.zeros((2, 50, 3)))
    np.testing.assert_array_equal(middle, np.stack([rays, rays]))
    assert not half.any()


def test_every_depth_from_the_nearest_on_lies_within_the_arc():
    rng = np.random.default_rng(1)
    ray = AHEAD
    for offset in rng.normal(size=(30, 3)):
        middle, half = towards(ray, offset[None, None])
        for depth in (1.0, 1.7, 4.0, 50.0, 1e6):
            direction = depth * ray[0] + offset
            cosine = middle[0, 0] @ direction / np.linalg.norm(direction)
            assert np.arccos(np.clip(cosine, -1, 1)) <= half[0, 0] + 1e-6


@pytest.mark.parametrize("scale", [0.01, 1.0, 300.0])
def test_the_nearest_depth_grows_with_the_path(scale):
    c2w = PATHS["orbit"](600).copy()  # a circle of four units
    c2w[:, :3, 3] = scale * c2w[:, :3, 3] + 1000.0
    near = nearest_depth(lingbot_views(c2w))
    assert scale < near < 10 * scale


def test_of_a_long_walk_the_last_metres_count():
    short, long = (nearest_depth(lingbot_views(PATHS["loop"](frames, 10**6))) for frames in (900, 9000))
    assert long == pytest.approx(short, rel=0.1)


def test_a_camera_that_only_turns_has_no_nearest_depth():
    assert nearest_depth(viewpoints(yaw_c2w(np.arange(30.0), np.full((30, 3), 7.1)))) == math.inf
