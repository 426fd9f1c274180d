"""Letter strings such as `R_L_R_L90`: the trajectories of WorldKV's release.

Letters R L (turn), W S A D (walk), `_` (hold) and a trailing angle in degrees. Turns take 2 degrees a frame,
a walk 24 frames of 1/24 unit.

The release moves first and records then, so its first pose is one frame into the motion. `reference_c2w` does
the same. In our language frame 0 is the start pose and the same motion follows it: frame n + 1 there is the
release's frame n.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice

import numpy as np
from jaxtyping import Float32

TURN_DEG_PER_FRAME = 2
MOVE_FRAMES = 24
DEFAULT_HOLD_FRAMES = 12  # ours: one chunk; the release always states it
_PATTERN = re.compile(r"([RLWSAD_]+)([0-9]{0,6})")
_TURNS = {"R": 1, "L": -1}
_WALKS = {"W": (1, 0), "S": (-1, 0), "D": (0, 1), "A": (0, -1)}  # (forward, right)


class MacroError(ValueError):
    """A motion string cannot be read.

    Args:
        problem: What is wrong with it.
        hint: What to write instead.
    """

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint


@dataclass(frozen=True)
class Stretch:
    """Frames of equal motion.

    Args:
        num_frames: Video frames.
        turn_deg: Degrees to the right in each.
        forward: 1 walks ahead, -1 back.
        right: 1 walks to the right, -1 to the left.
    """

    num_frames: int
    turn_deg: int = 0
    forward: int = 0
    right: int = 0


def parse_letters(text: str, hold_frames: list[int] | None = None) -> list[Stretch]:
    """Split a letter string into stretches of equal motion.

    Args:
        text: For example `WRLS40`.
        hold_frames: Video frames of each `_`: one number for all, or one for each.

    Raises:
        MacroError: Not a letter string, or an angle that 2 degrees a frame cannot reach.
    """
    match = _PATTERN.fullmatch(text)
    if match is None:
        stray = re.search(r"[^RLWSAD_]", text.rstrip("0123456789"))
        at_stray = f"'{stray.group()}' at character {stray.start() + 1}" if stray else "no letters"
        raise MacroError(f"not a motion string: {at_stray} in '{text[:40]}'", _GRAMMAR)
    letters, angle_text = match.groups()
    num_holds = letters.count("_")
    holds = hold_frames or [DEFAULT_HOLD_FRAMES]
    if len(holds) not in (1, num_holds):
        raise MacroError(
            f"{len(holds)} hold_frames for {num_holds} holds", "give one number for all, or one for each `_`"
        )
    hold = iter(holds * num_holds if len(holds) == 1 else holds)
    turn_frames = _turn_frames(letters, angle_text)
    stretches = []
    for letter in letters:
        if letter in _TURNS:
            stretches.append(Stretch(turn_frames, turn_deg=TURN_DEG_PER_FRAME * _TURNS[letter]))
        elif letter in _WALKS:
            ahead, side = _WALKS[letter]
            stretches.append(Stretch(MOVE_FRAMES, forward=ahead, right=side))
        else:
            stretches.append(Stretch(next(hold)))
    return stretches


_GRAMMAR = "letters R L W S A D _ and a trailing angle (`R_L_R_L90`), or pairs (`w-10, right-5`)"


def _turn_frames(letters: str, angle_text: str) -> int:
    turns = "R" in letters or "L" in letters
    if turns != bool(angle_text):
        raise MacroError(
            "turns without an angle" if turns else f"an angle of {angle_text} without a turn",
            "end a string with R or L in degrees, such as `RL90`, and no other",
        )
    angle = int(angle_text or 0)
    if angle % TURN_DEG_PER_FRAME or (turns and angle == 0):
        near = max(angle - angle % 2, 2)
        raise MacroError(
            f"{angle} degrees are not a number of {TURN_DEG_PER_FRAME}-degree frames",
            f"use {near} or {near + 2}",
        )
    return angle // TURN_DEG_PER_FRAME


def reference_c2w(
    text: str, num_frames: int, hold_frames: list[int] | None = None
) -> Float32[np.ndarray, "frames 4 4"]:
    """The poses of WorldKV's release, number for number: each frame first moves, then is recorded.

    Args:
        text: Letter string.
        num_frames: Length of the result; what the letters leave is held, what exceeds it is cut.
        hold_frames: Video frames of each `_`.

    Raises:
        MacroError: Not a letter string.
    """
    c2w = np.zeros((num_frames, 4, 4), np.float32)
    yaw_deg, position = 0, np.zeros(3, np.float32)
    moves = (stretch for stretch in parse_letters(text, hold_frames) for _ in range(stretch.num_frames))
    still = (Stretch(1) for _ in range(num_frames))
    for frame, motion in enumerate(islice((m for part in (moves, still) for m in part), num_frames)):
        yaw_deg += motion.turn_deg
        yaw = np.deg2rad(np.float64(yaw_deg))
        cos, sin = np.cos(yaw), np.sin(yaw)
        if motion.forward or motion.right:
            step = motion.forward * np.array([sin, 0, cos]) + motion.right * np.array([cos, 0, -sin])
            position = position + (step / MOVE_FRAMES).astype(np.float32)
        # The release builds the matrix from a quaternion; at 90 degrees the last bit of the cosine shows it.
        w, y = np.cos(yaw / 2), np.sin(yaw / 2)
        c2w[frame] = np.eye(4)
        c2w[frame, :3, :3] = [[w * w - y * y, 0, 2 * w * y], [0, 1, 0], [-2 * w * y, 0, w * w - y * y]]
        c2w[frame, :3, 3] = position
    return c2w
