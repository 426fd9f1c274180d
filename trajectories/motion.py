"""From one step and the pose before it to the poses after each of its frames.

Every function returns exact totals: the last pose is the start plus the stated amount, however many frames it
took.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from trajectories.actions import Gains
from trajectories.errors import MotionError
from trajectories.geometry import angles_from_rotations, forward, right, rotations_from_angles, wrap_deg
from trajectories.steps import Easing, Move, Orbit, ReturnTo, Timed, Turn

At = Callable[..., str]  # at("yaw_deg") is the place of that key in the file
ORBIT_TOLERANCE_DEG = 1.0  # the camera must look at the centre this precisely


@dataclass(frozen=True)
class Pose:
    """Position in world units and (yaw, pitch, roll) in degrees. Yaw is not wrapped: 720 is two turns."""

    position: Float64[np.ndarray, " 3"]
    angles_deg: Float64[np.ndarray, " 3"]


@dataclass(frozen=True)
class Poses:
    """The poses after each frame of a step."""

    position: Float64[np.ndarray, "frames 3"]
    angles_deg: Float64[np.ndarray, "frames 3"]

    @property
    def num_frames(self) -> int:
        """Video frames that the step takes."""
        return len(self.position)


@dataclass(frozen=True)
class Defaults:
    """What a step falls back to, from the file's header."""

    fps: float
    turn_deg_per_frame: float
    move_units_per_frame: float
    easing: Easing
    gains: Gains


def whole_frames(amount: float, rate: float) -> int:
    """Fewest frames that keep `amount` within `rate` a frame; 2.1 / 0.1 is 21 despite rounding."""
    return math.ceil(abs(amount) / rate - 1e-9)


def stated_frames(step: Timed, fps: float) -> int | None:
    """Frames that the step states itself, or None."""
    if step.frames is not None:
        return step.frames
    return None if step.seconds is None else max(1, whole_frames(step.seconds, 1 / fps))


def turn_frames(step: Turn, defaults: Defaults) -> int:
    """Video frames of a turn."""
    rate = step.deg_per_frame or defaults.turn_deg_per_frame
    return stated_frames(step, defaults.fps) or max(
        1, whole_frames(math.hypot(step.yaw_deg, step.pitch_deg), rate)
    )


def move_frames(step: Move, defaults: Defaults) -> int:
    """Video frames of a move: neither walking nor turning exceeds its rate."""
    length = math.hypot(step.forward_units, step.right_units, step.up_units)
    angle = math.hypot(step.yaw_deg, step.pitch_deg)
    rate = step.units_per_frame or defaults.move_units_per_frame
    needed = max(whole_frames(length, rate), whole_frames(angle, defaults.turn_deg_per_frame), 1)
    return stated_frames(step, defaults.fps) or needed


def orbit_frames(step: Orbit, radius: float, defaults: Defaults) -> int:
    """Video frames of an orbit: neither walking nor turning exceeds its rate."""
    rate = step.units_per_frame or defaults.move_units_per_frame
    arc = math.radians(abs(step.angle_deg)) * radius
    needed = max(whole_frames(arc, rate), whole_frames(step.angle_deg, defaults.turn_deg_per_frame), 1)
    return stated_frames(step, defaults.fps) or needed


def shares(num_frames: int, easing: Easing) -> Float64[np.ndarray, "frames 1"]:
    """How much of a step is done after each of its frames, from above 0 to 1."""
    time = (np.arange(num_frames) + 1.0)[:, None] / num_frames
    return time * time * (3.0 - 2.0 * time) if easing == "smooth" else time


def glide(
    pose: Pose,
    share: Float64[np.ndarray, "frames 1"],
    *,
    forward_units: float = 0.0,
    right_units: float = 0.0,
    up_units: float = 0.0,
    yaw_deg: float = 0.0,
    pitch_deg: float = 0.0,
) -> Poses:
    """Walk and turn at once: straight, on the spot, or along the arc of a circle.

    On an arc of yaw theta, the part up to share s has the chord s sinc(s theta / 2) in the direction half way
    between the yaws at both ends, so a walk through 360 degrees closes exactly.
    """
    angles = pose.angles_deg + share * np.array([yaw_deg, pitch_deg, 0.0])
    half_turn_deg = share[:, 0] * yaw_deg / 2.0
    mean_yaw = pose.angles_deg[0] + half_turn_deg
    chord = share * np.sinc(half_turn_deg / 180.0)[:, None]
    walked = chord * (forward_units * forward(mean_yaw) + right_units * right(mean_yaw))
    climbed = share * np.array([0.0, -up_units, 0.0])
    return Poses(pose.position + walked + climbed, angles)


def turn(step: Turn, pose: Pose, defaults: Defaults) -> Poses:
    """Turn in place."""
    share = shares(turn_frames(step, defaults), step.easing or defaults.easing)
    return glide(pose, share, yaw_deg=step.yaw_deg, pitch_deg=step.pitch_deg)


def move(step: Move, pose: Pose, defaults: Defaults) -> Poses:
    """Walk straight, or along an arc."""
    return glide(
        pose,
        shares(move_frames(step, defaults), step.easing or defaults.easing),
        forward_units=step.forward_units,
        right_units=step.right_units,
        up_units=step.up_units,
        yaw_deg=step.yaw_deg,
        pitch_deg=step.pitch_deg,
    )


def hold(num_frames: int, pose: Pose) -> Poses:
    """Stand still."""
    return Poses(
        np.repeat(pose.position[None], num_frames, axis=0),
        np.repeat(pose.angles_deg[None], num_frames, axis=0),
    )


def orbit(step: Orbit, pose: Pose, defaults: Defaults, at: At) -> Poses:
    """Circle around a centre, turning with the angle, so that the centre stays where it is in the picture."""
    if step.centre_units is not None:
        centre = np.array(step.centre_units, dtype=np.float64)
        _check_looks_at(centre, pose, at)
    else:
        centre = pose.position + (step.distance_units or 0.0) * forward(pose.angles_deg[:1])[0]
    spoke = pose.position - centre
    radius = math.hypot(spoke[0], spoke[2])
    share = shares(orbit_frames(step, radius, defaults), step.easing or defaults.easing)
    turned = share * np.array([step.angle_deg, 0.0, 0.0])
    return Poses(centre + rotations_from_angles(turned) @ spoke, pose.angles_deg + turned)


def _check_looks_at(centre: Float64[np.ndarray, " 3"], pose: Pose, at: At) -> None:
    line = centre - pose.position
    level = math.hypot(line[0], line[2])
    if level < 1e-6:
        raise MotionError(
            "the camera stands at the centre of the orbit",
            where=at("centre_units"),
            hint="walk away from it first, or give distance_units",
        )
    yaw_off = float(wrap_deg(np.rad2deg(np.arctan2(line[0], line[2])) - pose.angles_deg[:1])[0])
    pitch_off = math.degrees(math.atan2(-line[1], level)) - float(pose.angles_deg[1])
    if abs(yaw_off) > ORBIT_TOLERANCE_DEG or abs(pitch_off) > ORBIT_TOLERANCE_DEG:
        yaw_off, pitch_off = round(yaw_off, 2) + 0.0, round(pitch_off, 2) + 0.0  # no -0.0
        raise MotionError(
            "the camera does not look at the centre of the orbit",
            where=at("centre_units"),
            hint=f"turn first: `turn: {{yaw_deg: {yaw_off:g}, pitch_deg: {pitch_off:g}}}`",
        )


def return_straight(step: ReturnTo, pose: Pose, target: Pose, defaults: Defaults) -> Poses:
    """Go to a pose on a straight line, turning the shorter way round (half a turn goes right)."""
    way = target.position - pose.position
    turning = wrap_deg(target.angles_deg - pose.angles_deg)
    needed = max(
        whole_frames(float(np.linalg.norm(way)), defaults.move_units_per_frame),
        whole_frames(float(np.linalg.norm(turning)), defaults.turn_deg_per_frame),
    )
    stated = stated_frames(step, defaults.fps)
    share = shares(needed if stated is None else stated, step.easing or defaults.easing)
    return Poses(pose.position + share * way, pose.angles_deg + share * turning)


def angles_near(
    rotations: Float64[np.ndarray, "frames 3 3"], before_deg: Float64[np.ndarray, " 3"]
) -> Float64[np.ndarray, "frames 3"]:
    """Angles of rotations, unwrapped so that yaw and roll go on from the angles before."""
    angles = np.concatenate([before_deg[None], angles_from_rotations(rotations)])
    angles[:, [0, 2]] = np.unwrap(angles[:, [0, 2]], axis=0, period=360.0)
    return angles[1:]
