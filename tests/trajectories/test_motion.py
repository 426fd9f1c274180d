"""Steps and the camera paths that they make."""

import numpy as np
import pytest

from tests.trajectories.make import make, pitch_deg, position, yaw_deg
from trajectories.geometry import angle_between_deg, step_lengths, step_turns_deg


def test_frame_0_is_the_start_pose() -> None:
    start = make(
        "turn: {yaw_deg: 10}", header="start: {position_units: [1, 2, 3], yaw_deg: 90, pitch_deg: 30}"
    )
    cos, sin = np.cos(np.pi / 6), 0.5
    assert position(start)[0].tolist() == [1, 2, 3]
    # Looking right and up: forward is +X and -Y, right is -Z.
    expected = [[0, sin, cos], [0, cos, -sin], [-1, 0, 0]]
    np.testing.assert_allclose(start.c2w[0, :3, :3], expected, atol=1e-15)


@pytest.mark.parametrize(
    ("step", "frames", "end"),
    [
        ("move: {forward_units: 1}", 10, [0, 0, 1]),
        ("move: {forward_units: -0.3}", 3, [0, 0, -0.3]),
        ("move: {right_units: 0.25}", 3, [0.25, 0, 0]),
        ("move: {up_units: 1, units_per_frame: 0.5}", 2, [0, -1, 0]),
        ("move: {forward_units: 2.1}", 21, [0, 0, 2.1]),
        ("move: {forward_units: 1, frames: 7}", 7, [0, 0, 1]),
        ("move: {forward_units: 1, seconds: 0.5}", 8, [0, 0, 1]),
        ("hold: {seconds: 0.51}", 9, [0, 0, 0]),
        ("hold: {frames: 4}", 4, [0, 0, 0]),
    ],
)
def test_moves_take_whole_frames_and_reach_exact_totals(step: str, frames: int, end: list[float]) -> None:
    made = make(step)
    assert made.num_frames == 1 + frames
    np.testing.assert_allclose(position(made)[-1], end, atol=1e-12)
    np.testing.assert_allclose(step_lengths(made.c2w), np.linalg.norm(end) / frames, atol=1e-12)


@pytest.mark.parametrize(("degrees", "frames"), [(90, 18), (91, 19), (-45, 9), (2, 1)])
def test_turns_share_their_amount_equally(degrees: float, frames: int) -> None:
    made = make(f"turn: {{yaw_deg: {degrees}}}")
    np.testing.assert_allclose(yaw_deg(made), np.linspace(0, degrees, frames + 1), atol=1e-9)


def test_positive_yaw_turns_right_and_positive_pitch_looks_up() -> None:
    made = make("turn: {yaw_deg: 90}", "move: {forward_units: 1}", "turn: {pitch_deg: 20}")
    np.testing.assert_allclose(position(made)[-1], [1, 0, 0], atol=1e-12)
    assert made.c2w[-1, 1, 2] == pytest.approx(-np.sin(np.deg2rad(20)))  # up is -Y


def test_full_turn_comes_home() -> None:
    for steps in (["turn: {yaw_deg: 360}"], ["move: {forward_units: 5, yaw_deg: 360, easing: smooth}"]):
        made = make(*steps)
        np.testing.assert_allclose(made.c2w[-1], made.c2w[0], atol=1e-9)


def test_many_turns_come_home() -> None:
    made = make("repeat: {times: 200, steps: [{turn: {yaw_deg: 360, frames: 7}}]}")
    np.testing.assert_allclose(made.c2w[-1], made.c2w[0], atol=1e-9)


def test_arc_is_a_circle_of_the_stated_length() -> None:
    made = make("move: {forward_units: 3.1415926535, yaw_deg: 180}")
    np.testing.assert_allclose(position(made)[-1], [2, 0, 0], atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(position(made) - [1, 0, 0], axis=-1), 1.0, atol=1e-9)
    assert step_lengths(made.c2w).sum() == pytest.approx(np.pi, rel=1e-3)


def test_smooth_easing_starts_and_stops_at_rest_in_the_same_time() -> None:
    smooth, linear = (make(f"turn: {{yaw_deg: 90, easing: {easing}}}") for easing in ("smooth", "linear"))
    speed = np.diff(yaw_deg(smooth))
    assert smooth.num_frames == linear.num_frames
    assert yaw_deg(smooth)[-1] == pytest.approx(90)
    assert speed.max() == pytest.approx(7.5, rel=0.01)  # 1.5 times the mean
    assert speed[0] < 1.0
    np.testing.assert_allclose(speed, speed[::-1], atol=1e-9)


def test_orbit_keeps_looking_at_its_centre() -> None:
    made = make("turn: {yaw_deg: 30}", "orbit: {distance_units: 2, angle_deg: 270, easing: smooth}")
    centre = np.array([2 * np.sin(np.pi / 6), 0, 2 * np.cos(np.pi / 6)])
    spokes = centre - position(made)[6:]
    np.testing.assert_allclose(np.linalg.norm(spokes, axis=-1), 2.0, atol=1e-12)
    np.testing.assert_allclose(made.c2w[6:, :3, 2], spokes / 2.0, atol=1e-12)
    assert (
        np.linalg.norm(position(make("orbit: {distance_units: 2, angle_deg: 90}"))[-1] - [-2, 0, 2]) < 1e-12
    )


def test_orbit_around_a_point_below_keeps_its_pitch() -> None:
    made = make("turn: {pitch_deg: -45}", "orbit: {centre_units: [0, 1, 1], angle_deg: 360}")
    np.testing.assert_allclose(pitch_deg(made)[9:], -45, atol=1e-9)
    np.testing.assert_allclose(made.c2w[-1], made.c2w[9], atol=1e-9)


def test_straight_return_turns_the_shorter_way() -> None:
    made = make("mark: home", "turn: {yaw_deg: 300}", "move: {forward_units: 1}", "return_to: home")
    np.testing.assert_allclose(made.c2w[-1], made.c2w[0], atol=1e-9)
    assert made.num_frames == 1 + 60 + 10 + 12  # 60 degrees on, not 300 back


def test_retrace_replays_the_frames_backwards() -> None:
    made = make(
        "hold: {frames: 2}",
        "mark: home",
        "move: {forward_units: 1, yaw_deg: 33}",
        "turn: {yaw_deg: 120, pitch_deg: 10}",
        "return_to: {mark: home, path: retrace}",
    )
    there = made.c2w[made.marks["home"] :]
    np.testing.assert_array_equal(there, there[::-1])


def test_return_to_where_one_is_takes_no_time() -> None:
    assert make("mark: a", "hold: {frames: 3}", "return_to: a").num_frames == 4


def test_marks_name_frames_and_count_the_passes_of_repeat() -> None:
    made = make("mark: start", "repeat: {times: 3, steps: [{hold: {frames: 2}}, {mark: end}]}")
    assert dict(made.marks) == {"start": 0, "end": 2, "end@2": 4, "end@3": 6}


def test_return_inside_repeat_goes_to_the_newest_pass() -> None:
    there = "{mark: a}, {move: {forward_units: 1}}"
    back = "{return_to: {mark: a, path: retrace}}, {move: {right_units: 1}}"
    made = make(f"repeat: {{times: 2, steps: [{there}, {back}]}}")
    np.testing.assert_allclose(position(made)[-1], [2, 0, 0], atol=1e-12)
    assert made.num_frames == 1 + 2 * 30


def test_all_rotations_stay_orthonormal() -> None:
    made = make(
        "repeat: {times: 50, steps: [{turn: {yaw_deg: 7.3, pitch_deg: 11}}, {turn: {pitch_deg: -11}}]}"
    )
    rotations = made.c2w[:, :3, :3]
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), np.broadcast_to(np.eye(3), rotations.shape), atol=1e-14
    )


def test_rates_of_the_header_are_the_default() -> None:
    made = make(
        "turn: {yaw_deg: 9}",
        "move: {forward_units: 1}",
        "turn: {yaw_deg: 9, deg_per_frame: 9}",
        header="rates: {turn_deg_per_frame: 3, move_units_per_frame: 0.05}",
    )
    assert made.num_frames == 1 + 3 + 20 + 1
    assert step_turns_deg(made.c2w).max() == pytest.approx(9)


def test_keyframes_pass_through_their_poses() -> None:
    poses = (
        "[{at_frames: 10, position_units: [1, 0, 1], yaw_deg: 45}, {at_frames: 16, pitch_deg: 20}, "
        "{at_seconds: 2, quaternion_wxyz: [0.7071067811865476, 0, 0.7071067811865476, 0]}, "
        "{at_frames: 40, c2w: [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2]]}]"
    )
    for how in ("linear", "smooth"):
        made = make(f"keyframes: {{interpolation: {how}, poses: {poses}}}")
        assert made.num_frames == 41
        for frame, point in ((10, [1, 0, 1]), (16, [1, 0, 1]), (32, [1, 0, 1]), (40, [0, 0, 2])):
            np.testing.assert_allclose(position(made)[frame], point, atol=1e-12)
        np.testing.assert_allclose(yaw_deg(made)[[10, 16, 32, 40]], [45, 45, 90, 0], atol=1e-6)
        np.testing.assert_allclose(pitch_deg(made)[[10, 16, 32, 40]], [0, 20, 0, 0], atol=1e-6)


def test_linear_keyframes_turn_at_constant_speed() -> None:
    made = make("keyframes: {interpolation: linear, poses: [{at_frames: 12, yaw_deg: 100, pitch_deg: 40}]}")
    np.testing.assert_allclose(step_turns_deg(made.c2w), step_turns_deg(made.c2w)[0], rtol=1e-9)


def test_smooth_keyframes_have_no_jerks() -> None:
    poses = ", ".join(
        f"{{at_frames: {20 * n}, position_units: [{n % 2}, 0, {n}], yaw_deg: {60 * n}}}" for n in range(1, 6)
    )
    made = make(f"keyframes: {{poses: [{poses}]}}")
    assert step_lengths(made.c2w)[[0, -1]].max() < 0.01  # at rest at both ends
    velocity = np.diff(position(made), axis=0)
    assert np.linalg.norm(np.diff(velocity, axis=0), axis=-1).max() < 0.03
    assert np.abs(np.diff(step_turns_deg(made.c2w))).max() < 1.0


def test_turning_goes_on_after_keyframes() -> None:
    made = make("keyframes: {poses: [{at_frames: 4, yaw_deg: 170}]}", "turn: {yaw_deg: 20}")
    np.testing.assert_allclose(angle_between_deg(made.c2w[4:5, :3, :3], made.c2w[-1:, :3, :3]), 20.0)
    assert yaw_deg(made)[-1] == pytest.approx(-170)


def test_camera_intrinsics_scale_with_the_picture() -> None:
    by_fov = make("hold: {frames: 1}", header="camera: {fov_deg: 90, image_size_px: [640, 480]}")
    np.testing.assert_allclose(by_fov.intrinsics, [[320, 320, 320, 240]] * 2)
    np.testing.assert_allclose(by_fov.intrinsics_for(64, 48)[0], [32, 32, 32, 24])
    lens = "{fx_px: 415.5, fy_px: 415.7, cx_px: 415.8, cy_px: 239.8}"
    stated = f"camera: {{intrinsics: {lens}, image_size_px: [832, 480]}}"
    by_hand = make("hold: {frames: 1}", header=stated)
    np.testing.assert_allclose(by_hand.intrinsics_for(416, 480)[0], [207.75, 415.7, 207.9, 239.8])
    assert by_hand.image_size == (832, 480)
