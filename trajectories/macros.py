"""Motion strings as a step: letters and pairs, from wherever the camera stands."""

from __future__ import annotations

import numpy as np

from trajectories.errors import MotionError
from trajectories.formats.letters import MOVE_FRAMES, MacroError, Stretch, parse_letters
from trajectories.formats.pairs import DEFAULT_FRAMES_PER_STEP, Pair, is_pairs, parse_pairs
from trajectories.motion import At, Defaults, Pose, Poses, glide, shares
from trajectories.steps import Macro


def macro_frames(step: Macro, at: At) -> int:
    """Video frames of a macro, without making them.

    Raises:
        MotionError: The string cannot be read.
    """
    parts = _parse(step, at)
    return sum(_num_frames(part, step) for part in parts)


def macro(step: Macro, pose: Pose, defaults: Defaults, at: At) -> Poses:
    """Run a motion string at constant speed."""
    made: list[Poses] = []
    for part in _parse(step, at):
        num_frames = _num_frames(part, step)
        share = shares(num_frames, "linear")
        if isinstance(part, Stretch):
            move_units, turn_deg, pitch_deg = num_frames / MOVE_FRAMES, float(num_frames * part.turn_deg), 0.0
        else:
            move_units = num_frames * defaults.move_units_per_frame
            turn_deg = num_frames * defaults.turn_deg_per_frame * part.yaw
            pitch_deg = num_frames * defaults.turn_deg_per_frame * part.pitch
        if part.forward and part.right:
            move_units /= 2.0**0.5
        forward_units, right_units = move_units * part.forward, move_units * part.right
        poses = glide(
            pose,
            share,
            forward_units=forward_units,
            right_units=right_units,
            yaw_deg=turn_deg,
            pitch_deg=pitch_deg,
        )
        pose = Pose(poses.position[-1], poses.angles_deg[-1])
        made.append(poses)
    return Poses(
        np.concatenate([poses.position for poses in made]),
        np.concatenate([poses.angles_deg for poses in made]),
    )


def _parse(step: Macro, at: At) -> list[Stretch] | list[Pair]:
    text = step.text.strip()
    pairs = is_pairs(text)
    unused = "hold_frames" if pairs else "frames_per_step"
    if getattr(step, unused) is not None:
        kind = "pairs such as `w-10`" if pairs else "letters such as `RL90`"
        raise MotionError(f"{unused} has no meaning for {kind}", where=at(unused), hint="remove it")
    try:
        return parse_pairs(text) if pairs else parse_letters(text, step.hold_frames)
    except MacroError as error:
        raise MotionError(error.problem, where=at("text"), hint=error.hint) from error


def _num_frames(part: Stretch | Pair, step: Macro) -> int:
    if isinstance(part, Stretch):
        return part.num_frames
    return part.num_steps * (step.frames_per_step or DEFAULT_FRAMES_PER_STEP)
