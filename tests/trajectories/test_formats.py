"""Motion strings of the field."""

from pathlib import Path

import numpy as np
import pytest

from tests.trajectories.make import make, pitch_deg, position, yaw_deg
from trajectories.formats.letters import MacroError, parse_letters, reference_c2w
from trajectories.formats.pairs import parse_pairs

GOLDEN = Path(__file__).parents[1] / "golden" / "trajectories" / "letters.npz"
STRINGS = {
    "A": ("WRLSWRLS40", None),
    "B": ("R_L_R_L90", [4]),
    "C": ("ARLDW70", None),
    "D": ("RL180", None),
    "E": ("WLR120", None),
    "F": ("W_A_D_S", [3, 5, 7]),
}


@pytest.mark.parametrize("case", STRINGS)
def test_letters_give_the_reference_poses_bit_by_bit(case: str) -> None:
    letters, hold_frames = STRINGS[case]
    with np.load(GOLDEN) as golden:
        expected = golden[case]
    np.testing.assert_array_equal(reference_c2w(letters, len(expected), hold_frames), expected)


@pytest.mark.parametrize("case", STRINGS)
def test_macro_is_the_reference_after_the_start_pose(case: str) -> None:
    letters, hold_frames = STRINGS[case]
    holds = (
        ""
        if hold_frames is None
        else f", hold_frames: {hold_frames if len(hold_frames) > 1 else hold_frames[0]}"
    )
    made = make(f"macro: {{text: {letters}{holds}}}")
    moves = made.num_frames - 1
    np.testing.assert_array_equal(made.c2w[0], np.eye(4))
    np.testing.assert_allclose(made.c2w[1:], reference_c2w(letters, moves, hold_frames), atol=1e-5)


def test_macro_starts_from_where_the_camera_stands() -> None:
    made = make("turn: {yaw_deg: 90}", "macro: W")
    np.testing.assert_allclose(position(made)[-1], [1, 0, 0], atol=1e-9)


def test_reference_starts_one_frame_into_the_motion() -> None:
    first = reference_c2w("W", 30)[0]
    assert first[2, 3] == np.float32(1 / 24)
    assert reference_c2w("W", 30)[-1, 2, 3] == pytest.approx(1)  # what the letters leave is held


def test_pairs_take_four_frames_a_step_at_the_default_rates() -> None:
    made = make("macro: w-3, right-2, up-1, d-1")
    assert made.num_frames == 1 + 4 * 7
    assert yaw_deg(made)[-1] == pytest.approx(40)
    assert pitch_deg(made)[-1] == pytest.approx(20)
    np.testing.assert_allclose(position(made)[12], [0, 0, 1.2], atol=1e-12)
    right = np.deg2rad(40)
    np.testing.assert_allclose(
        position(made)[-1] - position(made)[12], [0.4 * np.cos(right), 0, -0.4 * np.sin(right)], atol=1e-12
    )


def test_pairs_combine_directions_into_arcs() -> None:
    made = make("macro: {text: w+right-18, frames_per_step: 4}")
    np.testing.assert_allclose(made.c2w[-1], np.eye(4), atol=1e-9)  # 72 frames of 5 degrees
    diagonal = make("macro: {text: w+d-1, frames_per_step: 1}")
    assert np.linalg.norm(position(diagonal)[-1]) == pytest.approx(0.1)


@pytest.mark.parametrize("text", ["", "90", "RL", "W90", "RL0", "RL3", "R L90", "rl90", "w-3"])
def test_bad_letters_are_refused(text: str) -> None:
    with pytest.raises(MacroError):
        parse_letters(text)


@pytest.mark.parametrize("text", ["w", "w-0", "w-x", "w--3", "w-1,", "w+w-3", "jump-3"])
def test_bad_pairs_are_refused(text: str) -> None:
    with pytest.raises(MacroError):
        parse_pairs(text)


def test_number_of_holds_must_fit() -> None:
    with pytest.raises(MacroError, match="2 hold_frames for 3 holds"):
        parse_letters("W_A_D_S", [1, 2])
