"""The compiled trajectory: chunks, slices, provenance."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

import trajectories
from tests.trajectories.make import make, position


@pytest.mark.parametrize(
    ("frames", "how", "fitted", "change"),
    [
        (33, "cut", 33, 0),
        (33, "pad", 33, 0),
        (40, "cut", 33, -7),
        (40, "pad", 45, 5),
        (9, "cut", 9, 0),
        (4, "pad", 9, 5),
    ],
)
def test_whole_chunks_by_cutting_or_padding(frames: int, how: str, fitted: int, change: int) -> None:
    made = make(f"move: {{forward_units: 1, frames: {frames - 1}}}", "mark: end")
    result, difference = made.fit_chunks(first_frames=9, later_frames=12, how=how)
    assert (result.num_frames, difference) == (fitted, change)
    common = min(frames, fitted)
    np.testing.assert_array_equal(result.c2w[:common], made.c2w[:common])
    for array in (result.intrinsics, result.keyboard, result.mouse):
        assert len(array) == fitted
    if change > 0:
        np.testing.assert_array_equal(result.c2w[frames:], np.repeat(made.c2w[-1:], change, 0))
        assert not result.keyboard[frames - 1 :].any()
    assert ("end" in result.marks) == (change >= 0)


def test_cutting_to_nothing_is_refused() -> None:
    with pytest.raises(trajectories.MotionError) as caught:
        make("hold: {frames: 3}").fit_chunks(first_frames=9, later_frames=12, how="cut")
    assert caught.value.problem == "4 frames do not fill the first chunk of 9"
    assert caught.value.hint == "make the trajectory longer, or pad it"


def test_slice_keeps_world_coordinates_and_moves_marks() -> None:
    made = make("move: {forward_units: 1}", "mark: middle", "turn: {yaw_deg: 90}")
    part = made.slice(8, 15)
    np.testing.assert_array_equal(part.c2w, made.c2w[8:15])
    np.testing.assert_array_equal(part.mouse, made.mouse[8:15])
    assert dict(part.marks) == {"middle": 2}
    with pytest.raises(trajectories.MotionError, match=r"frames 5..50 are not inside"):
        made.slice(5, 50)


def test_arrays_are_read_only() -> None:
    made = make("hold: {frames: 3}")
    with pytest.raises(ValueError, match="read-only"):
        made.c2w[0, 0, 0] = 2
    with pytest.raises(TypeError):
        made.marks["x"] = 1  # type: ignore[index]


def test_file_and_text_are_remembered(tmp_path: Path) -> None:
    path = tmp_path / "my-walk.yaml"
    text = "version: 1\nfps: 8\nsteps: [{hold: {seconds: 2}}]\n"
    path.write_text("\ufeff" + text, encoding="utf-8")  # editors on Windows put a mark in front
    made = trajectories.load(path)
    assert (made.name, made.source, made.fps, made.num_frames, made.duration_s) == (
        "my-walk",
        str(path),
        8,
        17,
        17 / 8,
    )
    assert made.source_text == text
    assert made.source_sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_compiling_twice_gives_the_same_bits() -> None:
    first, second = trajectories.load("corridor-and-return"), trajectories.load("corridor-and-return")
    np.testing.assert_array_equal(first.c2w, second.c2w)
    np.testing.assert_array_equal(first.keyboard, second.keyboard)


@pytest.mark.parametrize(
    ("written", "value"), [("1e-1", 0.1), ("1", 1.0), (".5", 0.5), ("+2.", 2.0), ("010", 10.0)]
)
def test_numbers_follow_yaml_1_2(written: str, value: float) -> None:
    assert position(make(f"move: {{forward_units: {written}}}"))[-1, 2] == pytest.approx(value)


def test_words_that_yaml_1_1_takes_for_booleans_are_names() -> None:
    assert set(make("mark: no", "hold: {frames: 1}", "mark: on", "mark: y").marks) == {"no", "on", "y"}


def test_anchors_reuse_steps() -> None:
    made = make(
        "repeat: {times: 1, steps: &leg [{move: {forward_units: 1}}]}", "repeat: {times: 2, steps: *leg}"
    )
    assert position(made)[-1, 2] == pytest.approx(3)
