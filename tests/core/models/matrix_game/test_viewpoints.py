"""Viewpoints of action-driven rollouts: dead reckoning of what the model is told."""

import math

import numpy as np
import pytest

import trajectories
from core.errors import InputError
from core.models.matrix_game.action_notes import action_notes
from core.models.matrix_game.actions import ActionTracks, action_tracks, action_windows
from core.models.matrix_game.viewpoints import dead_reckoned_viewpoints, reckoned_c2w
from tests.trajectories.make import make
from trajectories import Gains
from trajectories.geometry import angle_between_deg, angles_from_rotations, wrap_deg

FOLLOWED = [
    "figure-eight",
    "key-presses",
    "long-patrol",
    "look-around",
    "loop",
    "macro-demo",
    "out-and-back",
]
EASED = {"corridor-and-return": 0.59, "orbit": 1.82}  # half of the way at up to 1.5 times a key's speed


def tracks_of(keyboard: np.ndarray, mouse: np.ndarray | None, variant: str, gains: Gains) -> ActionTracks:
    return ActionTracks(variant, keyboard, mouse, gains, np.eye(4))


def random_actions(rng: np.random.Generator, frames: int) -> tuple[np.ndarray, np.ndarray]:
    keyboard = (rng.random((frames, 4)) > 0.6).astype(np.float32)
    mouse = rng.uniform(-2, 2, (frames, 2)).astype(np.float32) * np.float32([0.01, 1.0])
    return keyboard, mouse


def section_10(keyboard: np.ndarray, mouse: np.ndarray, gains: Gains) -> list[tuple[float, ...]]:
    """Section 10 word for word: (x ahead, y right, pitch, yaw) of every video frame; yaw wrapped."""
    x = y = pitch = yaw = 0.0
    poses = [(x, y, pitch, yaw)]
    for keys, (m0, m1) in zip(keyboard[:-1].tolist(), mouse[:-1].tolist(), strict=True):
        turned = yaw + gains.deg_per_mouse_unit * m1
        a = math.radians((yaw + turned) / 2)
        fwd = gains.units_per_key_frame * (keys[0] - keys[1])
        right = gains.units_per_key_frame * (keys[3] - keys[2])
        if fwd and right:
            fwd, right = fwd / math.sqrt(2), right / math.sqrt(2)
        x, y = x + math.cos(a) * fwd - math.sin(a) * right, y + math.sin(a) * fwd + math.cos(a) * right
        pitch, yaw = pitch + gains.deg_per_mouse_unit * m0, (turned + 180) % 360 - 180
        poses.append((x, y, pitch, yaw))
    return poses


def test_universal_follows_section_10() -> None:
    """Several times across +-180 degrees, where the mean must be taken before wrapping."""
    keyboard, mouse = random_actions(np.random.default_rng(0), 400)
    gains = Gains(15.0, 12.35)
    x, y, pitch, yaw = np.array(section_10(keyboard, mouse, gains)).T
    assert (np.abs(np.diff(yaw)) > 180).any()
    c2w = reckoned_c2w(tracks_of(keyboard, mouse, "universal", gains))
    np.testing.assert_allclose(c2w[:, :3, 3], np.stack([y, np.zeros(400), x], axis=1), atol=1e-3)
    angles = angles_from_rotations(c2w[:, :3, :3])
    np.testing.assert_allclose(wrap_deg(angles[:, 0] - yaw), 0, atol=1e-4)
    np.testing.assert_allclose(angles[:, 1], pitch, atol=1e-4)


@pytest.mark.parametrize("deg_per_mouse_unit", [15.0, 10.0])
@pytest.mark.parametrize("name", FOLLOWED)
def test_bundled_trajectories_are_followed(name: str, deg_per_mouse_unit: float) -> None:
    """Within one step of a key, and 0.02 degrees (single precision over 2,685 frames)."""
    made = trajectories.load(name)
    gains = Gains(deg_per_mouse_unit, made.gains.units_per_key_frame)
    c2w = reckoned_c2w(action_tracks(made, "universal", gains=gains))
    assert angle_between_deg(c2w[:, :3, :3], made.c2w[:, :3, :3]).max() < 0.02
    assert np.linalg.norm(c2w[:, :3, 3] - made.c2w[:, :3, 3], axis=-1).max() < gains.units_per_key_frame


def test_every_bundled_trajectory_is_followed_or_its_drift_told() -> None:
    assert sorted([*FOLLOWED, *EASED]) == sorted(trajectories.library_names())
    for name in trajectories.library_names():
        made = trajectories.load(name)
        drift = [note for note in action_notes(made, action_tracks(made, "universal")) if "away from" in note]
        if name in EASED:
            assert f"lead up to {EASED[name]:.2f}"[:-1] in drift[0]
        else:
            assert drift == []


def test_the_action_at_frame_n_moves_what_the_first_frame_that_sees_it_shows() -> None:
    """A latent frame stands where the actions that it sees have led: windows and viewpoints agree in time."""
    for row in range(1, 33):
        keyboard, mouse = np.zeros((33, 4), np.float32), np.zeros((33, 2), np.float32)
        keyboard[row, 0] = 1
        seen = action_windows(keyboard, range(9)).any(axis=(1, 2))
        views = dead_reckoned_viewpoints(tracks_of(keyboard, mouse, "universal", Gains()))
        moved = views.positions.any(axis=1)
        assert np.flatnonzero(seen)[:1].tolist() == np.flatnonzero(moved)[:1].tolist()
        assert moved.sum() == max(0, 8 - row // 4)


def test_latent_frames_stand_at_their_last_video_frame() -> None:
    made = make("press: {keys: W, mouse_yaw_per_frame: 0.1, frames: 20}")
    tracks = action_tracks(made, "universal")
    views = dead_reckoned_viewpoints(tracks)
    np.testing.assert_allclose(views.c2w, made.c2w[::4], atol=1e-9)
    assert (views.num_frames, views.num_chunks, views.grid, views.image_size) == (6, 2, (22, 40), (640, 352))
    angles = angles_from_rotations(views.c2w[:, :3, :3])
    np.testing.assert_allclose(angles[:, 0], [0, 6, 12, 18, 24, 30], atol=1e-6)


def test_the_path_starts_at_the_trajectory_s_first_camera() -> None:
    header = "start: {position_units: [1, -2, 3], yaw_deg: 90, pitch_deg: -20}"
    made = make("press: {keys: W, frames: 8}", header=header)
    views = dead_reckoned_viewpoints(action_tracks(made, "universal"))
    np.testing.assert_allclose(views.c2w, made.c2w[::4], atol=1e-9)
    np.testing.assert_allclose(views.positions[-1], [1.8, -2, 3], atol=1e-9)


def test_walking_speed_only_scales_the_path() -> None:
    made = trajectories.load("key-presses")
    slow, fast = (
        dead_reckoned_viewpoints(action_tracks(made, "universal", gains=Gains(15.0, speed)))
        for speed in (0.1, 0.4)
    )
    np.testing.assert_allclose(fast.positions, 4 * slow.positions, atol=1e-9)
    np.testing.assert_array_equal(fast.c2w[:, :3, :3], slow.c2w[:, :3, :3])


def test_the_lens_is_a_pinhole_of_the_stated_field_of_view() -> None:
    tracks = action_tracks(make("hold: {frames: 8}"), "universal")
    assert dead_reckoned_viewpoints(tracks).intrinsics.tolist() == [pytest.approx([320, 320, 320, 176])] * 3
    views = dead_reckoned_viewpoints(tracks, fov_deg=60.0, size=(320, 160), grid=(1, 320))
    _, rays = views.rays([0])
    edge = math.degrees(math.atan2(rays[0, 0, 0], rays[0, 0, 2]))
    assert edge == pytest.approx(-30, abs=0.2)  # half a pixel within


def test_what_is_no_viewpoint_is_refused() -> None:
    eight = action_tracks(make("hold: {frames: 7}"), "universal")
    with pytest.raises(InputError, match="8 rows of actions are not 1 \\+ 4"):
        dead_reckoned_viewpoints(eight)
    thirteen = action_tracks(make("hold: {frames: 12}"), "universal")
    with pytest.raises(InputError, match="4 latent frames do not fill whole chunks of 3"):
        dead_reckoned_viewpoints(thirteen)
    for fov_deg in (0.0, 180.0, float("nan")):
        with pytest.raises(InputError, match="field of view"):
            dead_reckoned_viewpoints(action_tracks(make("hold: {frames: 8}"), "universal"), fov_deg=fov_deg)


def test_gta_drive_goes_without_strafes_at_full_speed() -> None:
    made = make("press: {keys: [W, D], mouse_yaw_per_frame: 0.1, frames: 30}", "press: {keys: A, frames: 2}")
    straight = make("press: {keys: W, mouse_yaw_per_frame: 0.1, frames: 30}", "hold: {frames: 2}")
    c2w = reckoned_c2w(action_tracks(made, "gta_drive"))
    np.testing.assert_allclose(c2w, straight.c2w, atol=1e-9)


def test_templerun_accumulates_turns_and_side_steps() -> None:
    """Out by 20 turns of 1.5 degrees and 8 side steps, and home again; running and jumping count nothing."""
    steps = [
        "press: {keys: W, mouse_yaw_per_frame: 1, frames: 20}",
        "press: {keys: [W, D], frames: 8}",
        "press: {mouse_pitch_per_frame: 0.2, frames: 4}",
        "press: {keys: W, frames: 8}",
        "press: {mouse_pitch_per_frame: -0.2, frames: 4}",
        "press: {keys: A, frames: 8}",
        "press: {mouse_yaw_per_frame: -0.1, frames: 20}",
    ]
    made = make(*steps)
    views = dead_reckoned_viewpoints(action_tracks(made, "templerun"), chunk_frames=1)
    yaw = angles_from_rotations(views.c2w[:, :3, :3])[:, 0]
    np.testing.assert_allclose(yaw[:6], [0, 6, 12, 18, 24, 30], atol=1e-5)
    away = np.linalg.norm(views.positions, axis=1)
    np.testing.assert_allclose(away[5:14], [0, 0.4, 0.8, 0.8, 0.8, 0.8, 0.8, 0.4, 0], atol=1e-9)
    sideways = [np.sqrt(3) / 2, 0, -0.5]  # to the right of where 30 degrees of yaw look
    np.testing.assert_allclose(views.positions[10], 0.8 * np.array(sideways), atol=1e-6)
    np.testing.assert_allclose(views.c2w[-1], np.eye(4), atol=1e-6)
