"""Keyboard and mouse of a trajectory as Matrix-Game takes them, and what it cannot be told."""

import numpy as np
import pytest
import torch

from core.errors import InputError
from core.models.matrix_game.action_notes import action_notes
from core.models.matrix_game.actions import KEYS, action_tracks, action_windows
from tests.golden_matrix_game import MANIFEST, frozen, golden
from tests.trajectories.make import make
from trajectories import Gains

NOMOVE, JUMP, SLIDE, TURN_LEFT, TURN_RIGHT, LEFT_SIDE, RIGHT_SIDE = range(7)


def press(keys: str = "", *, yaw: float = 0.0, pitch: float = 0.0, frames: int = 1) -> str:
    return (
        f"press: {{keys: [{', '.join(keys)}], mouse_yaw_per_frame: {yaw}, mouse_pitch_per_frame: {pitch}, "
        f"frames: {frames}}}"
    )


# --- tracks ---


@pytest.mark.parametrize("name", ["universal_las6", "gta_drive", "templerun"])
def test_tracks_have_the_columns_of_the_golden_runs(name: str) -> None:
    run = MANIFEST["runs"][name]
    tracks = action_tracks(make(press("WD", yaw=0.1, frames=8)), run["variant"])
    assert tracks.keyboard.shape == (9, run["keyboard_dim"])
    assert len(KEYS[run["variant"]]) == run["keyboard_dim"]
    assert (tracks.mouse is not None) == run["mouse"]


def test_universal_takes_keys_and_mouse_as_they_are() -> None:
    made = make(press("WA", yaw=0.1, pitch=-0.05, frames=2), press("S"), "hold: {frames: 1}")
    tracks = action_tracks(made, "universal")
    assert tracks.keyboard.tolist() == [[1, 0, 1, 0], [1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(tracks.mouse, made.mouse)
    assert action_notes(made, tracks) == ()


def test_camera_steps_press_keys_too() -> None:
    tracks = action_tracks(make("move: {right_units: 0.2}", "turn: {yaw_deg: -3, frames: 2}"), "universal")
    assert tracks.keyboard.tolist() == [[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(tracks.mouse[:, 1], [0, 0, -0.1, -0.1, 0], atol=1e-7)


def test_mouse_is_converted_from_the_trajectory_s_unit_to_the_model_s() -> None:
    made = make(press(yaw=0.3, pitch=0.06), header="gains: {deg_per_mouse_unit: 5}")  # 1.5 and 0.3 degrees
    np.testing.assert_allclose(action_tracks(made, "universal").mouse[0], [0.02, 0.1], rtol=1e-6)
    other = action_tracks(made, "universal", gains=Gains(30.0, 0.1))
    np.testing.assert_allclose(other.mouse[0], [0.01, 0.05], rtol=1e-6)


def test_calibration_is_plain_data() -> None:
    made = make(press("W"), header="gains: {units_per_key_frame: 0.25}")
    taken = action_tracks(made, "universal").calibration()
    assert taken == {"variant": "universal", "deg_per_mouse_unit": 15.0, "units_per_key_frame": 0.25}
    runner = action_tracks(made, "templerun", gains=Gains(10.0, 2.0)).calibration()
    assert runner == {
        "variant": "templerun",
        "deg_per_mouse_unit": 10.0,
        "units_per_key_frame": 2.0,
        "threshold_deg": 0.75,
        "turn_mouse_units": 0.1,
    }


def test_gta_drive_keeps_forward_back_and_steering() -> None:
    made = make(press("WD", yaw=0.1, pitch=0.1), press("S"), press("A"))
    tracks = action_tracks(made, "gta_drive")
    assert tracks.keyboard.tolist() == [[1, 0], [0, 1], [0, 0], [0, 0]]
    np.testing.assert_allclose(tracks.mouse, [[0, 0.1], [0, 0], [0, 0], [0, 0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("step", "column"),
    [
        ("hold: {frames: 1}", NOMOVE),
        (press("W"), NOMOVE),
        (press("S"), NOMOVE),
        (press("A"), LEFT_SIDE),
        (press("WD"), RIGHT_SIDE),
        (press(yaw=-0.1), TURN_LEFT),
        (press(yaw=0.1), TURN_RIGHT),
        (press(yaw=0.05), TURN_RIGHT),  # exactly the threshold, 0.75 degrees
        (press(yaw=0.049), NOMOVE),
        (press(pitch=0.1), JUMP),
        (press(pitch=-0.1), SLIDE),
        (press("D", yaw=-0.1, pitch=0.1), TURN_LEFT),
        (press("D", pitch=-0.1), SLIDE),
        (press("D", yaw=0.01), RIGHT_SIDE),
    ],
)
def test_templerun_gets_one_action_a_row(step: str, column: int) -> None:
    tracks = action_tracks(make(step), "templerun")
    assert tracks.keyboard.argmax(axis=1).tolist() == [column, NOMOVE]
    assert tracks.keyboard.sum(axis=1).tolist() == [1, 1]


def test_unknown_variant_and_impossible_gains_are_refused() -> None:
    with pytest.raises(InputError, match="no variant 'doom'") as refused:
        action_tracks(make(press("W")), "doom")
    assert refused.value.hint == "one of: universal, gta_drive, templerun"
    for gains in (Gains(0.0, 0.1), Gains(15.0, -1.0), Gains(15.0, float("nan"))):
        with pytest.raises(InputError, match="positive"):
            action_tracks(make(press("W")), "universal", gains=gains)


# --- notes ---


def test_turns_faster_than_the_demo_are_told_and_kept() -> None:
    made = make(press(yaw=0.1, frames=3), press(yaw=-0.3, frames=2))
    tracks = action_tracks(made, "universal")
    assert tracks.mouse[:, 1].tolist() == pytest.approx([0.1, 0.1, 0.1, -0.3, -0.3, 0])
    assert action_notes(made, tracks) == (
        "2 of 5 frames turn by up to 0.3 mouse units (4.5 degrees), faster than the model's demo with 0.1 "
        "(1.5 degrees): it may turn less than that (rates: {turn_deg_per_frame: 1.5} keeps to it)",
    )
    slower = action_tracks(made, "universal", gains=Gains(45.0, 0.1))  # 4.5 degrees are 0.1 units
    assert action_notes(made, slower) == ()


def test_rates_of_the_note_keep_to_the_demo_s_speed() -> None:
    made = make("turn: {yaw_deg: 90}", header="rates: {turn_deg_per_frame: 1.5}")
    assert action_notes(made, action_tracks(made, "universal")) == ()


def test_climbing_and_eased_walks_lead_off_the_path() -> None:
    climb = make("move: {up_units: 0.5}")
    assert action_notes(climb, action_tracks(climb, "universal")) == (
        "keys and mouse lead up to 0.5 units (frame 5) and 0.0 degrees away from the trajectory's cameras, "
        "as keys have one speed and do not climb: memory goes by keys and mouse",
    )
    slow = make("move: {forward_units: 1, frames: 40}")
    assert action_notes(slow, action_tracks(slow, "universal")) == ()


def test_a_tilted_horizon_is_told() -> None:
    """Rolling has neither key nor mouse."""
    made = make("keyframes: {poses: [{at_frames: 9, quaternion_wxyz: [0.9961947, 0, 0, 0.0871557]}]}")
    told = action_notes(made, action_tracks(made, "universal"))
    assert told[0].startswith("keys and mouse lead up to 0 units (frame 0) and 10.0 degrees away")


def test_another_walking_speed_is_told_and_is_no_drift() -> None:
    made = make(press("W", frames=40))
    tracks = action_tracks(made, "universal", gains=Gains(15.0, 0.25))
    assert action_notes(made, tracks) == (
        "a key moves the model 0.25 units a frame, and 0.1 in the trajectory: viewpoints are scaled by their "
        "ratio",
    )


def test_gta_drive_tells_what_is_left_out() -> None:
    made = make(press("WD"), press("W", pitch=0.01, frames=2), press(yaw=0.1, frames=14))
    notes = action_notes(made, action_tracks(made, "gta_drive"))
    assert notes == (
        "1 of 17 frames strafe (A, D), which gta_drive cannot: strafes are left out",
        "2 of 17 frames look up or down, which gta_drive cannot: pitch is left out",
        "3 of 17 frames steer with neither W nor S within 12 frames: a car at rest does not turn, so where "
        "it looks is a guess",
    )


def test_gta_drive_tells_how_far_strafes_would_have_led() -> None:
    made = make(press("D", frames=20))
    notes = action_notes(made, action_tracks(made, "gta_drive"))
    assert len(notes) == 2
    assert notes[1].startswith("keys and mouse lead up to 2 units (frame 20) and 0.0 degrees")


def test_rounding_is_no_turn() -> None:
    """Keyframes go through quaternions and pitch by some 1e-15 degrees."""
    step = "keyframes: {poses: [{at_frames: 9, position_units: [0, 0, 0.9]}]}"
    made = make(step, header="start: {pitch_deg: -20, yaw_deg: 50}")
    assert np.abs(made.mouse[:, 0]).max() > 0
    told = " ".join(action_notes(made, action_tracks(made, "gta_drive")))
    assert "look up" not in told


def test_templerun_tells_what_is_left_out() -> None:
    made = make(press("S", frames=2), press("A", yaw=0.01), press("A", yaw=0.1), press("W"))
    notes = action_notes(made, action_tracks(made, "templerun"))
    assert notes[:3] == (
        "2 of 5 frames walk back (S), which templerun cannot: they are left out",
        "1 of 5 frames turn by less than 0.75 degrees, which is no action of templerun's: they are left out",
        "1 of 5 frames ask templerun for several actions at once: only the first is taken",
    )
    assert len(notes) == 4
    assert "pseudo-motion" in notes[3]


@pytest.mark.parametrize("variant", KEYS)
def test_a_single_frame_has_tracks_and_no_other_notes(variant: str) -> None:
    made = make(press("W")).slice(0, 1)
    notes = action_notes(made, action_tracks(made, variant))
    assert len(notes) == (variant == "templerun")


# --- windows ---


def test_windows_in_full() -> None:
    track = np.arange(100, 117, dtype=np.float32)[:, None]
    assert action_windows(track, range(5))[..., 0].tolist() == [
        [100] * 12,
        [100] * 8 + [100, 101, 102, 103],
        [100] * 4 + [100, 101, 102, 103, 104, 105, 106, 107],
        list(range(100, 112)),
        list(range(104, 116)),
    ]
    np.testing.assert_array_equal(action_windows(track, range(3, 5)), action_windows(track, range(5))[3:])


def test_windows_within_the_track_only() -> None:
    track = np.zeros((9, 2), np.float32)
    assert action_windows(track, range(3)).shape == (3, 12, 2)
    assert action_windows(track, range(0)).shape == (0, 12, 2)
    for frames in (range(2, 4), range(-1, 2)):
        with pytest.raises(InputError, match="reach outside 9 rows"):
            action_windows(track, frames)


def streamed(block: int, what: str) -> np.ndarray:
    """The track that the network was given for a block, when every block before brought one action."""
    return golden("units")[f"stream.block{block}.{what}_cond"].numpy()


@pytest.mark.parametrize("what", ["keyboard", "mouse"])
def test_one_action_a_block_as_streamed(what: str) -> None:
    actions = np.stack([golden("units")[f"stream.block{block}.action_{what}"].numpy() for block in range(3)])
    track = np.repeat(actions, [9, 12, 12], axis=0)
    for block in range(3):
        given = streamed(block, what)
        np.testing.assert_array_equal(given, track[: len(given)])
        frames = range(3 * block, 3 * block + 3)
        np.testing.assert_array_equal(action_windows(given, frames), action_windows(track, frames))


@pytest.mark.parametrize("block", [1, 2])
def test_frames_of_a_block_see_3_7_and_11_of_its_rows(block: int) -> None:
    action = golden("units")[f"stream.block{block}.action_keyboard"].numpy()
    windows = action_windows(streamed(block, "keyboard"), range(3 * block, 3 * block + 3))
    assert (windows == action).all(axis=-1).sum(axis=-1).tolist() == [3, 7, 11]


def test_windows_give_the_keyboard_values_of_the_reference() -> None:
    """Values carry neither norm nor rotation: they are linear in the window's embedded rows."""
    layer = "model.blocks.0.action_model"
    embed, out = f"{layer}.keyboard_embed.0", f"{layer}.keyboard_embed.2"
    windows = torch.from_numpy(action_windows(frozen("unit.action.keyboard").numpy(), range(6, 12)))
    hidden = windows @ frozen(f"{embed}.weight@universal").T + frozen(f"{embed}.bias")
    rows = torch.nn.functional.silu(hidden) @ frozen(f"{out}.weight").T + frozen(f"{out}.bias")
    values = (rows.flatten(1) @ frozen(f"{layer}.keyboard_attn_kv.weight").T)[:, 128:].reshape(6, 2, 64)
    torch.testing.assert_close(values, golden("units")["action.las6.cache_keyboard"][1], atol=5e-6, rtol=0)
