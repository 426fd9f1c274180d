"""At which size a video is generated from a first picture."""

from __future__ import annotations

import math

from core.errors import InputError
from core.models.wan.size import MIN_SIDE_PX, STEP_PX

AREA_PX = 480 * 832


def size_of(rows: int, cols: int, area_px: int = AREA_PX) -> tuple[int, int]:
    """Width and height near `area_px` that keep the shape of a picture, cut to whole tokens.

    In integers: a picture of exactly 480x832 stays so.
    """
    height = math.isqrt(area_px * rows // (cols * STEP_PX * STEP_PX)) * STEP_PX
    width = math.isqrt(area_px * cols // (rows * STEP_PX * STEP_PX)) * STEP_PX
    return _checked(width, height)


def release_size(rows: int, cols: int, area_px: int = AREA_PX) -> tuple[int, int]:
    """The same in float64 and in the reference's order, where 480x832 becomes 464x832.

    Source: golden/lingbot README, section 12.
    """
    shape = rows / cols
    height = 2 * math.floor(math.floor(math.sqrt(area_px * shape) / 8) / 2) * 8
    width = 2 * math.floor(math.floor(math.sqrt(area_px / shape) / 8) / 2) * 8
    return _checked(width, height)


def _checked(width: int, height: int) -> tuple[int, int]:
    if min(width, height) < MIN_SIDE_PX:
        raise InputError(
            f"the picture is so long and narrow that the video would be {width}x{height}",
            where="--image",
            hint="crop it, or give --size",
        )
    return width, height
