"""Cameras as the reference implementation gives them to the network: resampled, relative, as rays."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from core.models.latent_cameras import cameras_at, latent_times, rows_at
from core.models.lingbot.camera import (
    camera_channels,
    camera_features,
    ray_origin_direction,
)
from core.models.lingbot.path import clip_scale, framewise_cameras
from core.models.wan.network import fold_patches
from tests.golden_lingbot import MANIFEST, SIZE_PX, golden
from trajectories import load
from trajectories.formats.letters import reference_c2w

TRAJECTORIES = MANIFEST["trajectories"]
USED = [name for name, entry in TRAJECTORIES.items() if entry["used_by_runs"]]


def latent_c2w(name):
    """Cameras of the latent frames of a golden run, from its letters."""
    entry = TRAJECTORIES[name]
    hold = [int(n) for n in entry["hold_frames"].split(",")] if entry["hold_frames"] else None
    c2w = reference_c2w(entry["letters"], entry["frames"], hold)
    num_frames, num_latent = MANIFEST["config"]["frame_num"], MANIFEST["config"]["latent_frames"]
    return cameras_at(c2w[:num_frames].astype(np.float64), latent_times(num_frames, num_latent))


@pytest.mark.parametrize("name", USED)
def test_latent_cameras_match_the_reference(name):
    np.testing.assert_allclose(latent_c2w(name), golden("units")[f"camera.{name}.absolute"], atol=2e-6)


def test_any_cameras_are_resampled_as_in_the_reference():
    c2w = golden("units")["camera.general.c2w"].double().numpy()
    ours = cameras_at(c2w, latent_times(9, 6))
    np.testing.assert_allclose(ours, golden("units")["camera.general.interpolated"], atol=2e-6)


@pytest.mark.parametrize("name", USED)
def test_framewise_cameras_match_the_reference(name):
    framewise = framewise_cameras(golden("units")[f"camera.{name}.absolute"].double().numpy())
    framewise[:, :3, 3] /= clip_scale(framewise)
    np.testing.assert_allclose(framewise, golden("units")[f"camera.{name}.relative"], atol=5e-6)


def test_any_cameras_become_relative_as_in_the_reference():
    framewise = framewise_cameras(golden("units")["camera.general.interpolated"].double().numpy())
    expected = golden("units")["camera.general.relative_unnormalised"]
    np.testing.assert_allclose(framewise, expected, atol=5e-6)
    framewise[:, :3, 3] /= clip_scale(framewise)
    np.testing.assert_allclose(framewise, golden("units")["camera.general.relative"], atol=5e-6)


def test_rays_match_the_reference():
    relative = golden("units")["camera.A.relative"]
    intrinsics = golden("units")["camera.A.intrinsics"].expand(len(relative), -1)
    ours = camera_channels(ray_origin_direction(relative, intrinsics, SIZE_PX))[:, 4]
    torch.testing.assert_close(ours, golden("units")["camera.A.plucker_frame4"], atol=5e-6, rtol=0)


def test_small_rays_match_the_reference():
    """Rays, their fold into the channels of latent cells, and the fold of those into tokens."""
    units = golden("units")
    relative = units["camera.general.relative"][:3]
    rays = ray_origin_direction(relative, units["intrinsics.80x48"][:1].expand(3, -1), (24, 16))
    expected = {
        "plucker.16x24": rays.permute(0, 2, 3, 1),
        "plucker.16x24.folded": camera_channels(rays),
        "plucker.16x24.tokens": fold_patches(camera_channels(rays)[None, ..., :2, :2])[0, :, 0],
    }
    for name, ours in expected.items():
        torch.testing.assert_close(ours, units[name], atol=5e-6, rtol=0)


def stated(intrinsics):
    """A trajectory whose cameras have these intrinsics, stated for 832x480."""
    trajectory = load("loop").slice(0, len(intrinsics))
    return replace(trajectory, intrinsics=intrinsics.double().numpy(), image_size=(832, 480))


@pytest.mark.parametrize("size", [(80, 48), (832, 464)])
def test_intrinsics_are_scaled_as_in_the_reference(size):
    units = golden("units")
    ours = stated(units["intrinsics.832x480"]).intrinsics_for(*size)
    np.testing.assert_allclose(ours, units[f"intrinsics.{size[0]}x{size[1]}"], rtol=1e-6)


def test_features_are_one_row_a_token():
    features = camera_features(
        torch.eye(4)[None].repeat(2, 1, 1), torch.tensor([[40.0, 40, 40, 24]] * 2), SIZE_PX
    )
    assert features.shape == (1, 2, 15, 1536)


def test_every_fourth_frame_is_taken_as_it_is():
    c2w = latent_c2w("A")[:9]
    assert np.array_equal(cameras_at(c2w, latent_times(9, 3)), c2w[::4])
    intrinsics = np.arange(36.0).reshape(9, 4)
    assert np.array_equal(rows_at(intrinsics, latent_times(9, 3)), intrinsics[::4])


def test_half_way_is_half_the_turn():
    turn = np.eye(4)[None].repeat(2, 0)
    turn[1, :3, :3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]  # 90 degrees to the right
    turn[1, :3, 3] = [2, 0, 4]
    middle = cameras_at(turn, np.array([0.5]))[0]
    assert np.allclose(middle[:3, 2], [np.sqrt(0.5), 0, np.sqrt(0.5)])
    assert np.allclose(middle[:3, 3], [1, 0, 2])


def test_a_camera_that_only_turns_has_unit_scale():
    turning = np.eye(4)[None].repeat(3, 0)
    assert clip_scale(framewise_cameras(turning)) == 1.0


def test_zoom_changes_the_rays_of_its_own_frames_only():
    """The reference reads the first row of the intrinsics for every frame; here each frame has its own."""
    still = torch.eye(4)[None].repeat(3, 1, 1)
    zoomed = torch.tensor([[40.0, 40, 40, 24], [40.0, 40, 40, 24], [80.0, 80, 40, 24]])
    rays = ray_origin_direction(still, zoomed, SIZE_PX)
    assert torch.equal(rays[0], rays[1])
    assert (rays[2, 3, :, 0].abs() < rays[0, 3, :, 0].abs()).all(), "half the angle to the left edge"
