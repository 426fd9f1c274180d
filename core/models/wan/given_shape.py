"""The shape of the pictures that a rollout of a large model would start from; needs no torch."""

from __future__ import annotations

from pathlib import Path

from core.config import GenerateConfig
from core.errors import InputError
from core.video.reader import read_image, read_video


def check_given(config: GenerateConfig) -> None:
    """Refuse beginnings that exclude each other.

    Raises:
        InputError: They do, or a large model is asked for a true walk.
    """
    if isinstance(config.prefix, int):
        raise InputError(
            "only the embedded model knows true walks", where="--prefix", hint="give a video, or --image"
        )
    if config.prefix is not None and config.image is not None:
        raise InputError(
            "a prefix brings its own first picture", where="--image", hint="leave out one of the two"
        )


def given_shape(config: GenerateConfig) -> tuple[int, int] | None:
    """Rows and columns of the first picture; None if there is none yet.

    Raises:
        InputError: It cannot be read.
    """
    check_given(config)
    if isinstance(config.prefix, Path):
        rows, cols = read_video(config.prefix, max_frames=1).shape[1:3]
    elif config.image is not None:
        rows, cols = read_image(config.image).shape[:2]
    else:
        return None
    return rows, cols
