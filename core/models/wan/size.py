"""Sizes of videos: whole tokens."""

from __future__ import annotations

from core.errors import InputError

STEP_PX = 16
"""A token spans 16x16 pixels; pictures are whole tokens."""

MIN_SIDE_PX = 4 * STEP_PX


def parse_size(text: str, *, where: str) -> tuple[int, int]:
    """Width and height of "832x480".

    Raises:
        InputError: It is no size, or not of whole tokens.
    """
    width, x, height = text.lower().partition("x")
    if not (x and width.isdecimal() and height.isdecimal()):
        raise InputError(f"a size is WIDTHxHEIGHT in pixels, got {text!r}", where=where, hint="say 832x480")
    size = int(width), int(height)
    if min(size) < MIN_SIDE_PX or any(side % STEP_PX for side in size):
        near = tuple(max(MIN_SIDE_PX, round(side / STEP_PX) * STEP_PX) for side in size)
        raise InputError(
            f"the sides of a video are multiples of {STEP_PX} and at least {MIN_SIDE_PX}, got {text}",
            where=where,
            hint=f"say {near[0]}x{near[1]}",
        )
    return size
