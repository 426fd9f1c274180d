"""Keyboard and mouse from a camera path, and a camera path from keyboard and mouse.

Keyboard columns are W, S, A, D (forward, back, left, right; the order of Matrix-Game-2.0's universal mode),
mouse columns are pitch and yaw in mouse units, up and right positive. The action at frame n moves frame n to
n + 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from trajectories.geometry import angles_from_rotations, c2w_from_angles, forward, right, wrap_deg

KEYS = "WSAD"


@dataclass(frozen=True)
class Gains:
    """How far actions move the camera. Unknown for most models: calibrate.

    Source: 15 degrees a mouse unit is what Matrix-Game's maintainers state for its predecessor.
    """

    deg_per_mouse_unit: float = 15.0
    units_per_key_frame: float = 0.1


def integrate_actions(
    keyboard: Float32[np.ndarray, "steps 4"],
    mouse: Float32[np.ndarray, "steps 2"],
    *,
    position: Float64[np.ndarray, " 3"],
    angles_deg: Float64[np.ndarray, " 3"],
    gains: Gains,
) -> tuple[Float64[np.ndarray, "steps 3"], Float64[np.ndarray, "steps 3"]]:
    """Dead reckoning: the positions and angles after each action.

    A step goes along the mean of its old and new yaw; two keys at a right angle give the same speed as one.

    Args:
        keyboard: Multi-hot W, S, A, D.
        mouse: (pitch, yaw) in mouse units.
        position: Where the camera stands before the first action, world units.
        angles_deg: (yaw, pitch, roll) before the first action.
        gains: Degrees per mouse unit and world units per key and frame.

    Returns:
        Positions in world units, angles (yaw, pitch, roll) in degrees.
    """
    # float32 keeps 7 digits; 0.1 would otherwise turn by 1.5000000223517418 degrees.
    units = np.round(mouse.astype(np.float64), 7)
    turned = np.zeros((len(mouse), 3))
    turned[:, :2] = np.cumsum(units[:, ::-1], axis=0) * gains.deg_per_mouse_unit
    angles = angles_deg + turned
    old_yaw = np.concatenate([angles_deg[:1], angles[:-1, 0]])
    mean_yaw = (old_yaw + angles[:, 0]) / 2.0
    keys = keyboard.astype(np.float64)
    ahead, side = keys[:, 0] - keys[:, 1], keys[:, 3] - keys[:, 2]
    speed = gains.units_per_key_frame / np.where((ahead != 0) & (side != 0), np.sqrt(2.0), 1.0)
    step = forward(mean_yaw) * (ahead * speed)[:, None] + right(mean_yaw) * (side * speed)[:, None]
    return position + np.cumsum(step, axis=0), angles


def actions_from_path(
    position: Float64[np.ndarray, "frames 3"], angles_deg: Float64[np.ndarray, "frames 3"], gains: Gains
) -> tuple[Float32[np.ndarray, "frames 4"], Float32[np.ndarray, "frames 2"]]:
    """The actions that follow a camera path best: the inverse of `integrate_actions`.

    The mouse is exact. Keys have one speed and eight directions, so they chase the path: whenever the
    position that they have reached lags by half a key's step or more, the keys nearest to its direction are
    held. A path at another speed is thus followed to within about one step, not with a growing error.
    Climbing has no key. The last frame has no action, as no frame follows it.
    """
    mouse = np.zeros((len(position), 2), np.float32)
    turned = np.diff(angles_deg, axis=0)
    turned[:, 0] = wrap_deg(turned[:, 0])
    mouse[:-1] = turned[:, [1, 0]] / gains.deg_per_mouse_unit
    mean_yaw_rad = np.deg2rad(angles_deg[:-1, 0] + turned[:, 0] / 2.0)
    keyboard = np.zeros((len(position), 4), np.float32)
    octants = _chase(position[:, [0, 2]], mean_yaw_rad, gains.units_per_key_frame)
    for key, held in enumerate(((7, 0, 1), (3, 4, 5), (5, 6, 7), (1, 2, 3))):
        keyboard[:-1, key] = np.isin(octants, held)
    return keyboard, mouse


def _chase(
    target: Float64[np.ndarray, "frames 2"], mean_yaw_rad: Float64[np.ndarray, " steps"], step: float
) -> list[int]:
    """Eighths of a turn to the right of ahead in which each step goes; -1 stands still."""
    x, z = target[0]
    octants = []
    for (to_x, to_z), yaw in zip(target[1:].tolist(), mean_yaw_rad.tolist(), strict=True):
        octant = -1
        if math.hypot(to_x - x, to_z - z) >= 0.5 * step:
            octant = round((math.atan2(to_x - x, to_z - z) - yaw) / (math.pi / 4.0)) % 8
            heading = yaw + octant * math.pi / 4.0
            x, z = x + step * math.sin(heading), z + step * math.cos(heading)
        octants.append(octant)
    return octants


def dead_reckoned_c2w(
    c2w_start: Float64[np.ndarray, "4 4"],
    keyboard: Float32[np.ndarray, "frames 4"],
    mouse: Float32[np.ndarray, "frames 2"],
    gains: Gains,
) -> Float64[np.ndarray, "frames 4 4"]:
    """Viewpoints of an action-driven rollout: frame 0 is `c2w_start`, the last frame's action is not used."""
    start_position, start_angles = c2w_start[:3, 3], angles_from_rotations(c2w_start[:3, :3])
    position, angles = integrate_actions(
        keyboard[:-1], mouse[:-1], position=start_position, angles_deg=start_angles, gains=gains
    )
    return c2w_from_angles(
        np.concatenate([start_position[None], position]), np.concatenate([start_angles[None], angles])
    )
