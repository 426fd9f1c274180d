"""Rotations and revisits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import trajectories
from tests.trajectories.make import make
from trajectories.geometry import (
    Revisit,
    angle_between_deg,
    angles_from_rotations,
    c2w_from_angles,
    nearest_rotation,
    revisit_segments,
    revisits,
    rotation_defect,
    rotations_from_angles,
    wrap_deg,
)
from trajectories.quaternions import quaternions_from_rotations, rotations_from_quaternions, slerp

angle = st.floats(-720, 720)
tilt = st.floats(-90, 90)


@given(angle, tilt, angle)
def test_angles_survive_the_way_through_matrices(yaw: float, pitch: float, roll: float) -> None:
    rotation = rotations_from_angles(np.array([yaw, pitch, roll]))
    assert rotation_defect(rotation) < 1e-12
    np.testing.assert_allclose(rotations_from_angles(angles_from_rotations(rotation)), rotation, atol=1e-7)


@given(angle, tilt, angle)
def test_quaternions_survive_the_way_through_matrices(yaw: float, pitch: float, roll: float) -> None:
    rotation = rotations_from_angles(np.array([[yaw, pitch, roll]]))
    np.testing.assert_allclose(
        rotations_from_quaternions(quaternions_from_rotations(rotation)), rotation, atol=1e-12
    )


def test_slerp_goes_the_shorter_way_at_constant_speed() -> None:
    ends = quaternions_from_rotations(rotations_from_angles(np.array([[170.0, 0, 0], [-150.0, 0, 0]])))
    share = np.linspace(0, 1, 5)
    path = slerp(np.repeat(ends[:1], 5, 0), np.repeat(ends[1:], 5, 0), share)
    yaw = angles_from_rotations(rotations_from_quaternions(path))[:, 0]
    np.testing.assert_allclose(yaw, [170, -180 + 0.0, -170, -160, -150], atol=1e-9)


def test_small_angles_are_measured_exactly() -> None:
    pair = rotations_from_angles(np.array([[0.0, 0, 0], [1e-5, 0, 0]]))
    assert angle_between_deg(pair[:1], pair[1:])[0] == pytest.approx(1e-5, rel=1e-6)


def test_wrapping_sends_half_a_turn_to_the_right() -> None:
    assert wrap_deg(np.array([-180.0, 180.0, 190.0, -190.0, 720.0])).tolist() == [180, 180, -170, 170, 0]


def test_defect_tells_rotations_from_other_matrices() -> None:
    assert rotation_defect(np.eye(3)) == 0
    assert rotation_defect(np.diag([1.0, 1.0, -1.0])) == 2
    assert rotation_defect(np.eye(3) * 1.001) == pytest.approx(0.002, rel=0.01)
    np.testing.assert_allclose(nearest_rotation(np.eye(3) * 1.001), np.eye(3))


def test_standing_still_is_no_revisit() -> None:
    assert revisits(make("hold: {frames: 200}").c2w) == []


def test_creeping_along_is_no_revisit() -> None:
    assert revisits(make("move: {forward_units: 10, frames: 400}").c2w) == []


def test_second_full_turn_revisits_the_first() -> None:
    made = make("turn: {yaw_deg: 360}", "turn: {yaw_deg: 360}")
    found = {pair.frame: pair for pair in revisits(made.c2w)}
    for frame in range(73, 144):
        assert found[frame].first_frame == frame - 72
        assert found[frame].distance == pytest.approx(0.0, abs=1e-6)


def test_earliest_visit_counts_and_its_nearest_frame() -> None:
    made = make("repeat: {times: 3, steps: [{turn: {yaw_deg: 100}}, {turn: {yaw_deg: -100}}]}")
    by_frame = {pair.frame: pair.first_frame for pair in revisits(made.c2w)}
    assert by_frame[100] == 20  # far end of the third swing: seen at 20, then at 60
    assert by_frame[90] == 10


def test_distance_adds_units_and_half_turns() -> None:
    position = np.zeros((80, 3))
    angles = np.zeros((80, 3))
    position[1:79, 0] = 5.0
    position[79, 2], angles[79, 0] = 0.05, 9.0
    (pair,) = [pair for pair in revisits(c2w_from_angles(position, angles)) if pair.frame == 79]
    assert (pair.first_frame, pair.gap_frames) == (0, 79)
    assert pair.distance == pytest.approx(0.05 + 9 / 180)
    assert revisits(c2w_from_angles(position, angles), max_distance=0.09) == []
    assert revisits(c2w_from_angles(position, angles), min_gap_frames=80) == []


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    c2w = trajectories.load("figure-eight").c2w
    whole = revisits(c2w)
    monkeypatch.setattr("trajectories.geometry._BLOCK_PAIRS", 1000)
    assert revisits(c2w) == whole


def test_revisits_agree_with_the_plain_definition() -> None:
    rng = np.random.default_rng(3)
    angles = np.zeros((150, 3))
    angles[:, 0] = np.cumsum(rng.choice([-15.0, 0.0, 15.0], 150))
    position = np.cumsum(rng.choice([-0.1, 0.0, 0.1], (150, 3)), axis=0)
    c2w = c2w_from_angles(position, angles)
    found = {pair.frame: pair.first_frame for pair in revisits(c2w)}
    for frame in range(150):
        distance = np.linalg.norm(position[:frame] - position[frame], axis=-1)
        distance += (
            angle_between_deg(c2w[:frame, :3, :3], np.repeat(c2w[frame : frame + 1, :3, :3], frame, 0)) / 180
        )
        away = max((i for i in range(frame) if distance[i] > 0.15), default=-1)
        candidates = [i for i in range(frame - 29) if i < away and distance[i] <= 0.15]
        expected = None
        if candidates:
            limit = min(round(distance[i], 6) for i in candidates) + 0.02
            first = next(i for i in candidates if round(distance[i], 6) <= limit)
            visit = [first]
            while visit[-1] + 1 in candidates and round(distance[visit[-1] + 1], 6) <= limit:
                visit.append(visit[-1] + 1)
            expected = min(visit, key=lambda i: (round(distance[i], 6), i))
        assert found.get(frame) == expected


def test_long_stay_after_a_return_is_a_revisit_throughout() -> None:
    made = make("turn: {yaw_deg: 90}", "turn: {yaw_deg: -90}", "hold: {frames: 60}")
    assert [pair.first_frame for pair in revisits(made.c2w) if pair.frame >= 36] == [0] * 61


def test_segments_join_neighbours() -> None:
    pairs = [Revisit(40, 9, 0.0), Revisit(41, 8, 0.0), Revisit(42, 30, 0.0), Revisit(50, 3, 0.0)]
    shown = [
        (s.start, s.stop, s.first_start, s.first_stop, s.min_gap_frames, s.max_gap_frames)
        for s in revisit_segments(pairs)
    ]
    assert shown == [(40, 41, 9, 8, 31, 33), (42, 42, 30, 30, 12, 12), (50, 50, 3, 3, 47, 47)]
