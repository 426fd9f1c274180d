"""How long a trajectory would become, found out before anything is expanded."""

from __future__ import annotations

from trajectories.document import Document, KeyPath
from trajectories.errors import MotionError
from trajectories.keyframes import keyframe_times
from trajectories.macros import macro_frames
from trajectories.motion import Defaults, move_frames, orbit_frames, stated_frames, turn_frames
from trajectories.steps import Hold, Keyframes, Macro, Move, Orbit, Press, Repeat, ReturnTo, Step, Turn

MAX_FRAMES = 200_000  # three and a half hours at 16 fps
MAX_STEPS = 100_000
MAX_REPEAT_DEPTH = 8


def too_many_frames(num_frames: int, where: str) -> MotionError:
    """The error of a trajectory that grows too long."""
    return MotionError(
        f"this makes at least {num_frames} frames, more than the {MAX_FRAMES} that a trajectory may have",
        where=where,
        hint="repeat less often, or move faster",
    )


def check_limits(steps: list[Step], document: Document, defaults: Defaults) -> None:
    """Refuse what would expand to too many frames or steps.

    Raises:
        MotionError: Too many frames or steps, or `repeat` nested too deeply.
    """
    _measure(steps, ("steps",), document, defaults)


def _measure(steps: list[Step], path: KeyPath, document: Document, defaults: Defaults) -> tuple[int, int]:
    """Least number of frames, and number of steps, of a list of steps."""
    num_frames, num_steps = 0, 0
    for index, step in enumerate(steps):
        here = (*path, index, step.kind)
        if isinstance(step.motion, Repeat):
            if sum(part == "repeat" for part in here) > MAX_REPEAT_DEPTH:
                raise MotionError(
                    f"repeat is nested more than {MAX_REPEAT_DEPTH} deep",
                    where=document.where(here),
                    hint="multiply the `times` of the inner ones",
                )
            frames, count = _measure(step.motion.steps, (*here, "steps"), document, defaults)
            frames, count = frames * step.motion.times, count * step.motion.times
            if count > MAX_STEPS:
                raise MotionError(
                    f"this repeats to {count} steps, more than the {MAX_STEPS} that a trajectory may have",
                    where=document.where((*here, "times")),
                    hint="repeat less often",
                )
            here = (*here, "times")
        else:
            frames, count = _least_frames(step, here, document, defaults), 1
        num_frames, num_steps = num_frames + frames, num_steps + count
        if num_frames > MAX_FRAMES:
            raise too_many_frames(num_frames, document.where(here))
    return num_frames, num_steps


def _least_frames(step: Step, path: KeyPath, document: Document, defaults: Defaults) -> int:
    """Frames of a step; a lower bound where they depend on where the camera is."""

    def at(*keys: str | int) -> str:
        return document.where((*path, *keys))

    match step.motion:
        case Turn() as motion:
            return turn_frames(motion, defaults)
        case Move() as motion:
            return move_frames(motion, defaults)
        case Hold() | Press() | ReturnTo() as motion:
            return stated_frames(motion, defaults.fps) or 0
        case Orbit() as motion:
            return orbit_frames(motion, motion.distance_units or 0.0, defaults)
        case Keyframes() as motion:
            return keyframe_times(motion, defaults.fps, at)[-1]
        case Macro() as motion:
            return macro_frames(motion, at)
    return 0
