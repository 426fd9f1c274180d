"""What the network is told about cameras and the first picture."""

import math

import numpy as np
import pytest
import torch

import trajectories
from core.models.intrinsics import cropped_intrinsics
from core.models.mini.conditioning import image_condition, ray_features
from core.models.mini.config import LATENT_CHANNELS, RAY_FEATURES, MiniConfig
from core.models.mini.session import fit_pictures
from core.models.mini.world import World, relative_cameras
from tests.core.memory.policy.cameras import random_walk
from tests.trajectories.make import make

INTRINSICS = torch.tensor([32.0, 32.0, 32.0, 24.0])
SIZE = (64, 48)


def features(c2w: np.ndarray) -> torch.Tensor:
    """Features of every cell: [frames, tokens, feature, cell of the token]."""
    matrices = torch.from_numpy(c2w).float()[None]
    out = ray_features(matrices, INTRINSICS.expand(1, len(c2w), 4), SIZE)
    assert out.shape == (1, len(c2w), 12, 4 * RAY_FEATURES)
    return out[0].unflatten(-1, (RAY_FEATURES, 4))


def test_first_camera_looks_along_its_own_rays():
    seen = features(np.eye(4)[None])[0]
    direction, moment, origin = seen[:, :3], seen[:, 3:6], seen[:, 6:9]
    torch.testing.assert_close(direction.norm(dim=1), torch.ones(12, 4))
    assert moment.abs().max() == 0
    assert origin.abs().max() == 0
    # token 5 is in row 1, column 1: its cells have centres at 20 or 28 px in x and y, in (dy, dx) order
    by_depth = direction[5] / direction[5, 2]
    cells = torch.tensor([[20.0, 28.0, 20.0, 28.0], [20.0, 20.0, 28.0, 28.0]])
    torch.testing.assert_close(by_depth[:2], (cells - torch.tensor([[32.0], [24.0]])) / 32)
    torch.testing.assert_close(seen[:, 9:12], torch.sin(direction * math.pi))
    torch.testing.assert_close(seen[:, 12:15], torch.cos(direction * math.pi))


def test_moment_is_that_of_the_line():
    """Any point of a ray gives the same moment: it names the line."""
    c2w = random_walk(2, seed=0).c2w
    seen = features(c2w)
    direction, moment, origin = seen[:, :, :3], seen[:, :, 3:6], seen[:, :, 6:9]
    along = origin + 0.7 * direction
    torch.testing.assert_close(torch.linalg.cross(along, direction, dim=2), moment, atol=1e-5, rtol=0)
    assert (moment * direction).sum(2).abs().max() < 1e-5


def test_a_common_motion_of_all_cameras_changes_nothing():
    c2w = random_walk(3, seed=1).c2w
    elsewhere = random_walk(1, seed=2).c2w[2]
    elsewhere[:3, 3] = (3.0, -1.0, 7.0)
    relative, moved = relative_cameras(c2w), relative_cameras(elsewhere @ c2w)
    np.testing.assert_allclose(relative[0], np.eye(4), atol=1e-12)
    np.testing.assert_allclose(moved, relative, atol=1e-9)
    torch.testing.assert_close(features(moved), features(relative), atol=1e-5, rtol=0)


def test_image_condition():
    image = torch.rand(2, LATENT_CHANNELS, 6, 8, generator=torch.Generator().manual_seed(0)) + 1
    first = image_condition(image, range(3), (2, 6, 8))
    assert first.shape == (2, 1 + LATENT_CHANNELS, 3, 6, 8)
    assert torch.equal(first[:, 0, 0], torch.ones(2, 6, 8))
    assert torch.equal(first[:, 1:, 0], image)
    assert first[:, :, 1:].abs().max() == 0
    assert image_condition(image, range(3, 6), (2, 6, 8)).abs().max() == 0
    assert image_condition(None, range(3), (2, 6, 8)).abs().max() == 0


def test_what_does_not_fit_is_cropped_around_the_middle():
    trajectory = make("turn: {yaw_deg: 90, frames: 12}")
    width, height = trajectory.image_size
    scale = 48 / height  # wider than 5:3, so the sides go
    cropped = cropped_intrinsics(trajectory, (80, 48))
    np.testing.assert_allclose(cropped[:, :2], trajectory.intrinsics[:, :2] * scale)
    np.testing.assert_allclose(cropped[:, 2] - 40, (trajectory.intrinsics[:, 2] - width / 2) * scale)
    np.testing.assert_allclose(cropped[:, 3], trajectory.intrinsics[:, 3] * scale)


@pytest.mark.parametrize("source", [(832, 480), (1920, 1080), (80, 48), (64, 64)])
def test_pictures_and_intrinsics_are_cropped_alike(source):
    """A bright dot where the camera says a point is, is still there after both were fitted."""
    camera = f"camera: {{image_size_px: [{source[0]}, {source[1]}]}}"
    text = f"version: 1\n{camera}\nsteps:\n  - turn: {{yaw_deg: 10}}\n"
    trajectory = trajectories.parse(text, source="t.yaml")
    point = np.array([0.3, -0.25, 1.0])
    picture = np.zeros((1, source[1], source[0], 3), dtype=np.uint8)
    fx, fy, cx, cy = trajectory.intrinsics[0]
    x, y = fx * point[0] + cx, fy * point[1] + cy
    half = source[0] // 40
    row, col = round(y), round(x)
    picture[0, row - half : row + half, col - half : col + half] = 255
    small = fit_pictures(picture, (80, 48))[0].mean(0).numpy()
    rows, cols = np.mgrid[:48, :80] + 0.5
    fx, fy, cx, cy = cropped_intrinsics(trajectory, (80, 48))[0]
    assert (small * cols).sum() / small.sum() == pytest.approx(fx * point[0] + cx, abs=0.7)
    assert (small * rows).sum() / small.sum() == pytest.approx(fy * point[1] + cy, abs=0.7)


def test_a_world_is_the_same_again_from_the_same_place():
    """There and back: the last picture of the walk is the first one."""
    trajectory = make("turn: {yaw_deg: 60, frames: 6}", "turn: {yaw_deg: -60, frames: 6}")
    world = World.around(trajectory, 3, MiniConfig())
    seen = world.pictures(0, trajectory.num_frames)
    assert seen.shape == (trajectory.num_frames, 3, 48, 80)
    torch.testing.assert_close(seen[-1], seen[0], atol=1e-3, rtol=0)
    torch.testing.assert_close(world.pictures(4, 6), seen[4:6], atol=1e-5, rtol=0)
    other = World.around(trajectory, 4, MiniConfig()).pictures(0, 1)
    assert float((other[0] - seen[0]).abs().mean()) > 0.05
