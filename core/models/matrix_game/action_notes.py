"""What a trajectory asks for and Matrix-Game's actions cannot say, in words for the user."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from core.models.matrix_game.actions import (
    RUNNER_THRESHOLD_DEG,
    TYPICAL_MOUSE_UNITS,
    WINDOW_ROWS,
    ActionTracks,
    runner_actions,
    turns_deg,
)
from core.models.matrix_game.viewpoints import reckoned_c2w
from trajectories import Trajectory
from trajectories.geometry import angle_between_deg

MOST_DRIFT_DEG = 1.0
"""Actions that stay within this angle of the cameras, and within one step of a key, follow them."""

STILL_DEG = 1e-3
"""Degrees a frame below which a turn is rounding, not meant."""


def action_notes(trajectory: Trajectory, tracks: ActionTracks) -> tuple[str, ...]:
    """What is dropped, what is faster than the model was shown with, and how far actions lead off the path.

    The last row leads out of the video and is not counted.

    Args:
        trajectory: What the tracks were made from.
        tracks: What `action_tracks` made of it.
    """
    if tracks.mouse is None:
        return tuple(_of_runner(trajectory))
    left_out = _of_driver(trajectory) if tracks.variant == "gta_drive" else iter(())
    return (*left_out, *_fast_turns(tracks), *_off_the_path(trajectory, tracks))


def _of_driver(trajectory: Trajectory) -> Iterator[str]:
    keys, (pitching, yawing) = trajectory.keyboard[:-1], _turning(trajectory)
    strafing = (keys[:, 2] > 0) | (keys[:, 3] > 0)
    if strafing.any():
        yield f"{_share(strafing)} strafe (A, D), which gta_drive cannot: strafes are left out"
    if pitching.any():
        yield f"{_share(pitching)} look up or down, which gta_drive cannot: pitch is left out"
    drives = np.cumsum(np.concatenate([np.zeros(WINDOW_ROWS, bool), (keys[:, :2] > 0).any(axis=1)]))
    parked = yawing & (drives[WINDOW_ROWS:] == drives[:-WINDOW_ROWS])
    if parked.any():
        yield (
            f"{_share(parked)} steer with neither W nor S within {WINDOW_ROWS} frames: a car at rest does "
            "not turn, so where it looks is a guess"
        )


def _of_runner(trajectory: Trajectory) -> Iterator[str]:
    keys, (pitching, yawing) = trajectory.keyboard[:-1], _turning(trajectory)
    left, right, jump, slide, *aside = runner_actions(keys, turns_deg(trajectory)[:-1]).T
    back, slow = keys[:, 1] > 0, (yawing & ~left & ~right) | (pitching & ~jump & ~slide)
    several = np.sum((left, right, jump, slide, *aside), axis=0) > 1
    if back.any():
        yield f"{_share(back)} walk back (S), which templerun cannot: they are left out"
    if slow.any():
        yield (
            f"{_share(slow)} turn by less than {RUNNER_THRESHOLD_DEG:g} degrees, which is no action of "
            "templerun's: they are left out"
        )
    if several.any():
        yield f"{_share(several)} ask templerun for several actions at once: only the first is taken"
    yield (
        "templerun has no camera track: memory goes by accumulated turns and side steps, a pseudo-motion, "
        "not by places"
    )


def _fast_turns(tracks: ActionTracks) -> Iterator[str]:
    """Turns beyond the speed of the reference's demo. They are handed on as they are."""
    if tracks.mouse is None or tracks.num_frames < 2:
        return
    units, degrees = np.abs(tracks.mouse[:-1]).max(axis=1), tracks.gains.deg_per_mouse_unit
    fast = units > TYPICAL_MOUSE_UNITS * (1 + 1e-6)  # float32 has 7 digits
    if fast.any():
        most, typical = float(units.max()), TYPICAL_MOUSE_UNITS
        yield (
            f"{_share(fast)} turn by up to {most:.3g} mouse units ({most * degrees:.3g} degrees), faster "
            f"than the model's demo with {typical:g} ({typical * degrees:.3g} degrees): it may turn less "
            f"than that (rates: {{turn_deg_per_frame: {typical * degrees:.3g}}} keeps to it)"
        )


def _off_the_path(trajectory: Trajectory, tracks: ActionTracks) -> Iterator[str]:
    """How far actions lead from the cameras, at the trajectory's speed: the model's only scales the path."""
    step = trajectory.gains.units_per_key_frame
    if tracks.gains.units_per_key_frame != step:
        yield (
            f"a key moves the model {tracks.gains.units_per_key_frame:g} units a frame, and {step:g} in the "
            "trajectory: viewpoints are scaled by their ratio"
        )
    reckoned = reckoned_c2w(replace(tracks, gains=replace(tracks.gains, units_per_key_frame=step)))
    away = np.linalg.norm(reckoned[:, :3, 3] - trajectory.c2w[:, :3, 3], axis=-1)
    turned = angle_between_deg(reckoned[:, :3, :3], trajectory.c2w[:, :3, :3])
    if away.max() > step or turned.max() > MOST_DRIFT_DEG:
        yield (
            f"keys and mouse lead up to {away.max():.3g} units (frame {away.argmax()}) and "
            f"{turned.max():.1f} degrees away from the trajectory's cameras, as keys have one speed and do "
            "not climb: memory goes by keys and mouse"
        )


def _turning(trajectory: Trajectory) -> tuple[Bool[np.ndarray, " steps"], Bool[np.ndarray, " steps"]]:
    """Which frames turn up or down, and which to a side."""
    moving = np.abs(turns_deg(trajectory)[:-1]) >= STILL_DEG
    return moving[:, 0], moving[:, 1]


def _share(frames: Bool[np.ndarray, " frames"]) -> str:
    return f"{np.count_nonzero(frames)} of {len(frames)} frames"
