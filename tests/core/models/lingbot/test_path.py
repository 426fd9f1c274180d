"""Cameras of latent frames: every fourth one exactly, or as the reference stretches them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from core.models.intrinsics import cropped_intrinsics
from core.models.lingbot.camera import path_features
from core.models.lingbot.path import CameraPath
from tests.core.models.lingbot.sessions import CPU, write_inputs, zooming
from tests.core.models.lingbot.slow_rollout import camera_features
from tests.naive_cameras import frame_to_frame, resampled
from trajectories import Trajectory, load

SIZE = (96, 64)


@pytest.fixture(scope="module")
def trajectory(tmp_path_factory: pytest.TempPathFactory) -> Trajectory:
    """57 frames, 15 latent ones, that turn, walk and zoom."""
    folder = tmp_path_factory.mktemp("path")
    write_inputs(folder)
    return zooming(load(str(folder / "there.yaml")).slice(0, 57))


@pytest.mark.parametrize("scale", [None, 0.4])
def test_features_equal_those_of_the_whole_path(trajectory: Trajectory, scale: float | None) -> None:
    """Chunk by chunk, scaled by the longest step of the whole path or as asked for, each frame's own lens."""
    path = CameraPath.exact(trajectory, SIZE, 3, scale)
    chunks = [path_features(path, path.viewpoints.frames_of(chunk), CPU) for chunk in range(5)]
    ours, whole = torch.cat(chunks, dim=1), camera_features(trajectory, SIZE, scale)
    assert ours.shape == (1, 15, 4 * 6, 1536)
    torch.testing.assert_close(ours, whole, atol=2e-6, rtol=0)
    assert path.scale == pytest.approx(scale or 0.7 * 4 / 13, rel=1e-6)


def test_every_fourth_camera_as_it_is(trajectory: Trajectory) -> None:
    views = CameraPath.exact(trajectory, SIZE, 3, None).viewpoints
    np.testing.assert_array_equal(views.c2w, trajectory.c2w[::4])
    np.testing.assert_array_equal(views.intrinsics, cropped_intrinsics(trajectory, SIZE)[::4])
    assert (views.grid, views.image_size, views.num_chunks) == ((4, 6), SIZE, 5)


def test_zoom_reaches_features_and_viewing_rays(trajectory: Trajectory) -> None:
    one_lens = replace(trajectory, intrinsics=np.tile(trajectory.intrinsics[:1], (57, 1)))
    path, still = (CameraPath.exact(each, SIZE, 3, None) for each in (trajectory, one_lens))
    assert torch.equal(path_features(path, range(1), CPU), path_features(still, range(1), CPU))
    assert (
        path_features(path, range(14, 15), CPU) - path_features(still, range(14, 15), CPU)
    ).abs().max() > 0.1
    spread = [_widest(each.viewpoints.rays([14])[1][0]) for each in (path, still)]
    assert np.tan(spread[1] / 2) / np.tan(spread[0] / 2) == pytest.approx(1.5, rel=1e-6)


def _widest(rays: np.ndarray) -> float:
    """Angle between the first and the last ray."""
    return float(np.arccos(rays[0] @ rays[-1]))


def test_a_token_looks_where_its_pixels_look(trajectory: Trajectory) -> None:
    """What retrieval takes as a token's viewing ray is the middle of the rays that the network is told."""
    path = CameraPath.exact(trajectory, SIZE, 3, None)
    views = path.viewpoints
    features = path_features(path, range(views.num_frames), CPU)[0].double().numpy()
    pixels = features.reshape(15, 24, 6, 256)[:, :, 3:].mean(-1)  # directions in the frame before's axes
    told = pixels / np.linalg.norm(pixels, axis=-1, keepdims=True)
    before = np.concatenate((views.c2w[:1], views.c2w[:-1]))
    in_world = np.einsum("fij,ftj->fti", before[:, :3, :3], told)
    centres, rays = views.rays(range(views.num_frames))
    angle = np.arccos(np.clip((in_world * rays).sum(-1), -1, 1))
    assert angle.max() < views.token_pitch_rad / 2
    np.testing.assert_array_equal(centres, views.c2w[:, :3, 3])


class TestAsReleased:
    @pytest.mark.parametrize(
        ("frames", "latent"), [(57, 15), (59, 15), (60, 15), (56, 12), (61, 15), (69, 18)]
    )
    def test_the_script_is_stretched_over_whole_chunks(self, frames: int, latent: int) -> None:
        uncut = load("out-and-back").slice(0, frames)
        path = CameraPath.as_released(uncut, SIZE, 3, None)
        used = (frames - 1) // 4 * 4 + 1
        absolute = resampled(uncut.c2w[:used], latent)
        np.testing.assert_allclose(path.viewpoints.c2w, absolute, atol=1e-6)
        step = frame_to_frame(absolute, normalised=False)
        assert path.scale == pytest.approx(np.linalg.norm(step[:, :3, 3], axis=1).max() or 1.0, rel=1e-5)

    def test_one_lens_for_all_stretched_to_the_picture(self, trajectory: Trajectory) -> None:
        path = CameraPath.as_released(trajectory, SIZE, 3, None)
        width, height = trajectory.image_size
        fx, fy, cx, cy = trajectory.intrinsics[0]
        first = [fx * 96 / width, fy * 64 / height, cx * 96 / width, cy * 64 / height]
        np.testing.assert_allclose(path.intrinsics, np.tile(first, (15, 1)))
