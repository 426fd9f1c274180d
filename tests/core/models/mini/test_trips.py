"""Training trips and clips: many seeds."""

import numpy as np
import pytest

from core.models.mini.config import CHUNK_FRAMES
from core.models.mini.trips import MAX_EXTENT, MAX_TIME_FRAMES, camera_matrices, random_trip, sample_clip
from tests.core.models.mini.clips import rng_of


def kind_of(seed: int) -> str:
    """What `random_trip` throws first."""
    return rng_of(seed).choice(("retrace", "back_and_forth", "spin", "wander"), p=(0.4, 0.25, 0.15, 0.2))


def test_camera_axes():
    quarter = camera_matrices(np.array([np.pi / 2]), np.zeros(1), np.zeros((1, 3)))[0]
    np.testing.assert_allclose(quarter[:3, 2], (1, 0, 0), atol=1e-12)  # yaw to the right looks along +X
    up = camera_matrices(np.zeros(1), np.array([0.3]), np.zeros((1, 3)))[0]
    assert up[1, 2] == pytest.approx(-np.sin(0.3))  # pitch up looks along -Y


@pytest.mark.parametrize("seed", range(40))
def test_trips(seed):
    frames = 30 + seed
    c2w, path = random_trip(rng_of(seed), frames)
    assert c2w.shape == (frames, 4, 4)
    assert path.shape == (frames, 3)
    np.testing.assert_allclose(c2w[0], np.eye(4), atol=1e-12)
    np.testing.assert_array_equal(c2w[:, :3, 3], path)
    rotations, ones = c2w[:, :3, :3], np.tile(np.eye(3), (frames, 1, 1))
    np.testing.assert_allclose(rotations @ rotations.swapaxes(1, 2), ones, atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(rotations), 1)
    assert np.abs(path).max() <= MAX_EXTENT + 1e-9
    assert np.abs(path[:, 1]).max() == 0
    assert np.linalg.norm(np.diff(path, axis=0), axis=1).max() <= 0.23


@pytest.mark.parametrize("seed", [s for s in range(40) if kind_of(s) == "retrace"])
def test_retracing_trips_come_back_the_same_way(seed):
    """In the plane: pitch swings on its own."""
    frames = 46
    c2w, path = random_trip(rng_of(seed), frames)
    turn = frames // 2
    right = c2w[:, :3, 0]  # the camera's X axis does not feel pitch
    for back in range(1, turn):
        np.testing.assert_allclose(path[turn + back], path[turn - back], atol=1e-9)
        np.testing.assert_allclose(right[turn + back], right[turn - back], atol=1e-9)
    assert np.abs(path[turn]).max() + np.abs(right[turn] - right[0]).max() > 0.05, "it has been somewhere"


@pytest.mark.parametrize("chunks", [2, 3, 8])
@pytest.mark.parametrize("seed", range(40))
def test_clips(seed, chunks):
    clip = sample_clip(rng_of(seed), chunks)
    assert clip.c2w.shape == (chunks * CHUNK_FRAMES, 4, 4)
    assert clip.times.shape == (chunks * CHUNK_FRAMES,)
    assert (np.diff(clip.times) >= 1).all(), "strictly increasing"
    assert clip.times.min() >= 0
    assert clip.times.max() < MAX_TIME_FRAMES
    by_chunk = clip.times.reshape(chunks, CHUNK_FRAMES)
    assert (by_chunk[:, 0] % CHUNK_FRAMES == 0).all()
    assert (np.diff(by_chunk, axis=1) == 1).all()
    if clip.times[0] == 0:
        np.testing.assert_allclose(clip.c2w[0], np.eye(4), atol=1e-12)
    places = clip.path[None] - clip.c2w[:, None, :3, 3]
    assert np.linalg.norm(places, axis=-1).min(1).max() < 1e-9, "the room is built around every camera"
    assert 70 <= clip.fov_deg <= 100


def test_clips_are_what_training_needs():
    """Missing chunks, long distances in time, clips without the first picture, mostly 90 degrees wide."""
    clips = [sample_clip(rng_of(seed), 8) for seed in range(300)]
    gaps = np.array([np.diff(c.times).max() for c in clips])
    assert 0.1 < (gaps == 1).mean() < 0.3
    assert (gaps > 100).mean() > 0.1
    assert 0.4 * MAX_TIME_FRAMES < max(c.times.max() for c in clips) < MAX_TIME_FRAMES
    assert 0.7 < np.mean([c.times[0] == 0 for c in clips]) < 1
    assert 0.6 < np.mean([c.fov_deg == 90 for c in clips]) < 0.9
    revisits = [np.linalg.norm(c.c2w[:, None] - c.c2w[None], axis=(2, 3)) for c in clips]
    far = np.abs(np.subtract.outer(np.arange(24), np.arange(24))) > 6
    assert np.mean([(r[far] < 0.2).any() for r in revisits]) > 0.5
