"""Pair strings such as `w-10, right-5`: a direction and for how many steps, one after the other.

w s a d walk ahead, back, left and right; left right up down turn the camera; `wait` stands still; `w+right-5`
does both at once. A step is one latent frame: 4 video frames of a Wan VAE. Each video frame moves by the
default moving rate and turns by the default turning rate.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from trajectories.errors import nearest
from trajectories.formats.letters import MacroError

DEFAULT_FRAMES_PER_STEP = 4
_PAIR = re.compile(r"\s*([a-zA-Z+]+)\s*-\s*([0-9]{1,6})\s*")
_DIRECTIONS = {  # (forward, right, yaw, pitch)
    "w": (1, 0, 0, 0),
    "s": (-1, 0, 0, 0),
    "a": (0, -1, 0, 0),
    "d": (0, 1, 0, 0),
    "right": (0, 0, 1, 0),
    "left": (0, 0, -1, 0),
    "up": (0, 0, 0, 1),
    "down": (0, 0, 0, -1),
    "wait": (0, 0, 0, 0),
}


@dataclass(frozen=True)
class Pair:
    """One direction for some steps; every amount is -1, 0 or 1 times the default rate."""

    num_steps: int
    forward: int
    right: int
    yaw: int
    pitch: int


def is_pairs(text: str) -> bool:
    """Whether a macro is meant as pairs rather than letters."""
    return "-" in text or "," in text


def parse_pairs(text: str) -> list[Pair]:
    """Read a pair string.

    Raises:
        MacroError: A part is not a direction with a number of steps.
    """
    pairs = []
    for part in text.split(","):
        match = _PAIR.fullmatch(part)
        if match is None:
            raise MacroError(
                f"'{part.strip()[:40]}' is not a direction and a number of steps", "write `w-10, right-5`"
            )
        words, num_steps = match.group(1).lower().split("+"), int(match.group(2))
        if num_steps == 0:
            raise MacroError(f"'{part.strip()}' takes no steps", "at least 1")
        for word in words:
            if word not in _DIRECTIONS:
                meant = nearest(word, _DIRECTIONS)
                suggestion = f"did you mean {meant}? " if meant else ""
                raise MacroError(
                    f"unknown direction '{word}'", f"{suggestion}expected one of: {', '.join(_DIRECTIONS)}"
                )
        forward, right, yaw, pitch = (sum(_DIRECTIONS[word][axis] for word in words) for axis in range(4))
        if max(map(abs, (forward, right, yaw, pitch))) > 1:
            raise MacroError(f"'{part.strip()}' names a direction twice", "make it longer instead")
        pairs.append(Pair(num_steps, forward, right, yaw, pitch))
    return pairs
