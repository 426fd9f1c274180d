"""Keyboard and mouse from a camera path, and a camera path from keyboard and mouse.

Keyboard columns are W, S, A, D (forward, back, left, right; the order of Matrix-Game-2.0's universal mode),
mouse columns are pitch and yaw in mouse units, up and right positive. The action at frame n moves frame n to
n + 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from trajectories.geometry import angles_from_rotations, c2w_from_angles, forward, right, wrap_deg

KEYS = "WSAD"
KEY_THRESHOLD = 0.1  # slower than this share of the key speed counts as standing still


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

    The mouse is exact. Keys have one speed and eight directions: those nearest to the motion are held while
    the camera moves. Climbing has no key. The last frame has no action, as no frame follows it.
    """
    keyboard = np.zeros((len(position), 4), np.float32)
    mouse = np.zeros((len(position), 2), np.float32)
    turned = np.diff(angles_deg, axis=0)
    turned[:, 0] = wrap_deg(turned[:, 0])
    mouse[:-1] = turned[:, [1, 0]] / gains.deg_per_mouse_unit
    mean_yaw = angles_deg[:-1, 0] + turned[:, 0] / 2.0
    step = np.diff(position, axis=0)
    ahead = np.sum(step * forward(mean_yaw), axis=-1)
    side = np.sum(step * right(mean_yaw), axis=-1)
    moving = np.hypot(ahead, side) > KEY_THRESHOLD * gains.units_per_key_frame
    octant = np.round(np.arctan2(side, ahead) / (np.pi / 4)).astype(np.int64) % 8  # 0 ahead, 2 right, 4 back
    for key, octants in enumerate(((7, 0, 1), (3, 4, 5), (5, 6, 7), (1, 2, 3))):
        keyboard[:-1, key] = moving & np.isin(octant, octants)
    return keyboard, mouse


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
