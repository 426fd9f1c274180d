"""Keyboard and mouse as the other view of a motion."""

import numpy as np
import pytest

import trajectories
from tests.trajectories.make import make, position, yaw_deg
from trajectories.actions import Gains, actions_from_path, dead_reckoned_c2w, integrate_actions

KEYS = {"W": [0, 0, 0.1], "S": [0, 0, -0.1], "A": [-0.1, 0, 0], "D": [0.1, 0, 0]}


@pytest.mark.parametrize("key", KEYS)
def test_key_moves_one_way_and_is_recovered_from_the_path(key: str) -> None:
    made = make(f"press: {{keys: {key}, frames: 3}}")
    np.testing.assert_allclose(np.diff(position(made), axis=0), [KEYS[key]] * 3, atol=1e-12)
    row = [float(key == name) for name in "WSAD"]
    assert made.keyboard.tolist() == [row, row, row, [0, 0, 0, 0]]


def test_two_keys_are_as_fast_as_one_and_mouse_units_are_15_degrees() -> None:
    made = make("press: {keys: [W, D], mouse_yaw_per_frame: 0.1, mouse_pitch_per_frame: -0.2, frames: 4}")
    assert np.linalg.norm(np.diff(position(made), axis=0), axis=-1).tolist() == pytest.approx([0.1] * 4)
    np.testing.assert_allclose(yaw_deg(made), [0, 1.5, 3, 4.5, 6], atol=1e-9)
    np.testing.assert_allclose(made.mouse[0], [-0.2, 0.1], rtol=1e-6)


def test_dead_reckoning_goes_along_the_mean_of_both_yaws() -> None:
    keyboard = np.array([[1, 0, 0, 0]], np.float32)
    mouse = np.array([[0, 4]], np.float32)
    where, angles = integrate_actions(
        keyboard, mouse, position=np.zeros(3), angles_deg=np.array([10.0, 0, 0]), gains=Gains(15.0, 2.0)
    )
    yaw = np.deg2rad(40)
    np.testing.assert_allclose(where, [[2 * np.sin(yaw), 0, 2 * np.cos(yaw)]])
    np.testing.assert_allclose(angles, [[70, 0, 0]])


def test_pressed_keys_are_recovered_from_the_camera_alone() -> None:
    rng = np.random.default_rng(0)
    keyboard = np.zeros((200, 4), np.float32)
    keyboard[np.arange(200), rng.integers(0, 4, 200)] = 1
    keyboard[::3] = [1, 0, 0, 1]
    keyboard[5::7] = 0
    mouse = rng.uniform(-0.5, 0.5, (200, 2)).astype(np.float32) * [0.05, 1]
    keyboard[-1], mouse[-1] = 0, 0
    gains = Gains(15.0, 0.25)
    c2w = dead_reckoned_c2w(np.eye(4), keyboard, mouse.astype(np.float32), gains)
    from trajectories.geometry import angles_from_rotations

    got_keyboard, got_mouse = actions_from_path(c2w[:, :3, 3], angles_from_rotations(c2w[:, :3, :3]), gains)
    np.testing.assert_array_equal(got_keyboard, keyboard)
    np.testing.assert_allclose(got_mouse, mouse, atol=1e-6)


@pytest.mark.parametrize("name", ["loop", "figure-eight", "out-and-back", "key-presses", "long-patrol"])
def test_actions_of_camera_steps_lead_along_the_camera_path(name: str) -> None:
    made = trajectories.load(name)
    reckoned = dead_reckoned_c2w(made.c2w[0], made.keyboard, made.mouse, made.gains)
    np.testing.assert_allclose(reckoned[:, :3, :3], made.c2w[:, :3, :3], atol=1e-4)
    assert np.linalg.norm(reckoned[:, :3, 3] - position(made), axis=-1).max() < made.gains.units_per_key_frame


def test_slow_moves_press_the_key_now_and_then() -> None:
    made = make("move: {forward_units: 1, frames: 40}")
    assert made.keyboard[:, 0].sum() == 10
    assert made.keyboard[:, 1:].sum() == 0


def test_gains_come_from_the_header() -> None:
    made = make(
        "press: {keys: W, mouse_yaw_per_frame: 1, frames: 1}",
        "turn: {yaw_deg: 5}",
        header="gains: {deg_per_mouse_unit: 10, units_per_key_frame: 2}",
    )
    assert made.gains == Gains(10.0, 2.0)
    assert yaw_deg(made)[1] == pytest.approx(10)
    np.testing.assert_allclose(made.mouse[:, 1], [1, 0.5, 0])
    assert np.linalg.norm(position(made)[1]) == pytest.approx(2)


def test_walking_speed_is_the_default_gain_of_a_key() -> None:
    made = make("move: {forward_units: 1}", header="rates: {move_units_per_frame: 0.04}")
    assert made.gains.units_per_key_frame == 0.04
    assert made.keyboard[:-1, 0].all()
