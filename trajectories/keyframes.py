"""Flying through given poses: straight legs, or a cubic that passes through all of them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Float64

from trajectories.errors import MotionError
from trajectories.geometry import (
    ORTHONORMAL_TOLERANCE,
    angles_from_rotations,
    nearest_rotation,
    rotation_defect,
    rotations_from_angles,
)
from trajectories.motion import At, Pose, Poses, angles_near
from trajectories.quaternions import (
    conjugate,
    exp,
    log,
    multiply,
    quaternions_from_rotations,
    rotations_from_quaternions,
    slerp,
)
from trajectories.steps import Keyframes, KeyPose

_HALF_TURN_RAD = np.pi - 1e-6


def keyframe_times(step: Keyframes, fps: float, at: At) -> list[int]:
    """Frames, counted from the step's start, at which the poses are reached.

    Raises:
        MotionError: The times do not increase.
    """
    times = [0]
    for index, pose in enumerate(step.poses):
        frame = pose.at_frames if pose.at_frames is not None else round((pose.at_seconds or 0.0) * fps)
        if frame <= times[-1]:
            key = "at_frames" if pose.at_frames is not None else "at_seconds"
            raise MotionError(
                f"pose {index + 1} is reached at frame {frame}, not after frame {times[-1]}",
                where=at("poses", index, key),
                hint="times must increase; frame 0 is where the step before ended",
            )
        times.append(frame)
    return times[1:]


def fly(step: Keyframes, start: Pose, fps: float, at: At) -> Poses:
    """Interpolate the camera between keyframes."""
    times = np.array([0, *keyframe_times(step, fps, at)], dtype=np.float64)
    positions, rotations = [start.position], [rotations_from_angles(start.angles_deg)]
    for index, pose in enumerate(step.poses):
        position, rotation = _resolve(
            pose, positions[-1], rotations[-1], lambda *keys, i=index: at("poses", i, *keys)
        )
        positions.append(position)
        rotations.append(rotation)
    quaternions = quaternions_from_rotations(np.stack(rotations))
    for index, (a, b) in enumerate(pairwise(quaternions)):
        if np.linalg.norm(log(multiply(conjugate(a[None]), b[None]))) > _HALF_TURN_RAD:
            raise MotionError(
                "the camera turns by half a turn between two poses: either way would do",
                where=at("poses", index),
                hint="put a pose between them, or use `turn`",
            )
    frames = np.arange(1, int(times[-1]) + 1, dtype=np.float64)
    interpolate = _smooth if step.interpolation == "smooth" else _linear
    position, quaternion = interpolate(times, np.stack(positions), quaternions, frames)
    return Poses(position, angles_near(rotations_from_quaternions(quaternion), start.angles_deg))


def _resolve(
    pose: KeyPose, position: Float64[np.ndarray, " 3"], rotation: Float64[np.ndarray, "3 3"], at: At
) -> tuple[Float64[np.ndarray, " 3"], Float64[np.ndarray, "3 3"]]:
    """The camera of one keyframe; what it leaves out is taken from the pose before."""
    if pose.c2w is not None:
        matrix = np.array(pose.c2w, dtype=np.float64)
        if len(matrix) == 4 and not np.array_equal(matrix[3], [0, 0, 0, 1]):
            raise MotionError(
                "the last row of c2w must be [0, 0, 0, 1]", where=at("c2w", 3), hint="or leave it out"
            )
        defect = rotation_defect(matrix[:3, :3])
        if defect > ORTHONORMAL_TOLERANCE:
            raise MotionError(
                f"c2w does not hold a rotation: its columns are off by {defect:.3g}",
                where=at("c2w"),
                hint=f"R^T R must be the identity within {ORTHONORMAL_TOLERANCE:g} and must not mirror",
            )
        return matrix[:3, 3], nearest_rotation(matrix[:3, :3])
    if pose.position_units is not None:
        position = np.array(pose.position_units, dtype=np.float64)
    if pose.quaternion_wxyz is not None:
        quaternion = np.array(pose.quaternion_wxyz, dtype=np.float64)
        length = float(np.linalg.norm(quaternion))
        if abs(length - 1.0) > ORTHONORMAL_TOLERANCE:
            raise MotionError(
                f"quaternion_wxyz is not a rotation: its length is {length:.4g}, not 1",
                where=at("quaternion_wxyz"),
                hint="order w, x, y, z; no rotation is [1, 0, 0, 0]",
            )
        rotation = rotations_from_quaternions((quaternion / length)[None])[0]
    elif pose.yaw_deg is not None or pose.pitch_deg is not None:
        yaw, pitch, roll = angles_from_rotations(rotation)
        yaw = yaw if pose.yaw_deg is None else pose.yaw_deg
        pitch = pitch if pose.pitch_deg is None else pose.pitch_deg
        rotation = rotations_from_angles(np.array([yaw, pitch, roll]))
    return position, rotation


def _linear(
    times: Float64[np.ndarray, " keys"],
    positions: Float64[np.ndarray, "keys 3"],
    quaternions: Float64[np.ndarray, "keys 4"],
    frames: Float64[np.ndarray, " frames"],
) -> tuple[Float64[np.ndarray, "frames 3"], Float64[np.ndarray, "frames 4"]]:
    leg, share, _ = _legs(times, frames)
    position = positions[leg] + share[:, None] * (positions[leg + 1] - positions[leg])
    return position, slerp(quaternions[leg], quaternions[leg + 1], share)


def _smooth(
    times: Float64[np.ndarray, " keys"],
    positions: Float64[np.ndarray, "keys 3"],
    quaternions: Float64[np.ndarray, "keys 4"],
    frames: Float64[np.ndarray, " frames"],
) -> tuple[Float64[np.ndarray, "frames 3"], Float64[np.ndarray, "frames 4"]]:
    """Catmull-Rom for positions; its counterpart on rotations, a Bezier curve built of slerps.

    Source: Shoemake 1985, Animating rotation with quaternion curves (de Casteljau on the sphere).
    """
    leg, share, length = _legs(times, frames)
    velocity = _velocities(times, np.diff(positions, axis=0))
    spin = _velocities(times, log(multiply(conjugate(quaternions[:-1]), quaternions[1:])))
    third = length[:, None] / 3.0
    p0, p3 = positions[leg], positions[leg + 1]
    p1, p2 = p0 + velocity[leg] * third, p3 - velocity[leg + 1] * third
    u = share[:, None]
    position = (1 - u) ** 3 * p0 + 3 * (1 - u) ** 2 * u * p1 + 3 * (1 - u) * u**2 * p2 + u**3 * p3
    q0, q3 = quaternions[leg], quaternions[leg + 1]
    q1, q2 = multiply(q0, exp(spin[leg] * third)), multiply(q3, exp(-spin[leg + 1] * third))
    a, b, c = slerp(q0, q1, share), slerp(q1, q2, share), slerp(q2, q3, share)
    return position, slerp(slerp(a, b, share), slerp(b, c, share), share)


def _legs(
    times: Float64[np.ndarray, " keys"], frames: Float64[np.ndarray, " frames"]
) -> tuple[np.ndarray, Float64[np.ndarray, " frames"], Float64[np.ndarray, " frames"]]:
    """Which leg each frame lies on, how far along it, and how long the leg is in frames."""
    leg = np.searchsorted(times, frames, side="left") - 1
    length = np.diff(times)[leg]
    return leg, (frames - times[leg]) / length, length


def _velocities(
    times: Float64[np.ndarray, " keys"], steps: Float64[np.ndarray, "legs 3"]
) -> Float64[np.ndarray, "keys 3"]:
    """Velocity at each key: the mean of both legs weighted by the other's length; at rest at both ends."""
    length = np.diff(times)[:, None]
    slope = steps / length
    inner = (slope[:-1] * length[1:] + slope[1:] * length[:-1]) / (length[:-1] + length[1:])
    rest = np.zeros((1, 3))
    return np.concatenate([rest, inner, rest])
