"""The frames that are compared, in the size in which the model made them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from core.errors import InputError
from core.evaluation.recording import Recording
from core.video.stream import stream_video

Frame = UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True, eq=False)
class Footage:
    """What was looked at of a video.

    Attributes:
        frames: Frame number to frame, those that were wanted and are there.
        num_frames: Frames that were read.
        motion: Mean absolute change from frame to frame, grey levels of 255. 0: the picture is frozen.
    """

    frames: Mapping[int, Frame]
    num_frames: int
    motion: float


def read_footage(recording: Recording, wanted: Collection[int], stop: int) -> Footage:
    """Read a video once, keeping what is wanted.

    Args:
        recording: Whose video.
        wanted: Numbers of the frames to keep.
        stop: Read frames before this one.

    Raises:
        InputError: The video cannot be read, or ends before its time.
    """
    chosen, frames, changes = frozenset(wanted), dict[int, Frame](), 0.0
    last: np.ndarray | None = None
    count = 0
    for number, large in enumerate(stream_video(recording.video)):
        if number >= stop:
            break
        frame = shrink(large, recording.enlargement)
        if last is not None:
            changes += float(np.abs(frame.astype(np.int16) - last).mean())
        if number in chosen:
            frames[number] = frame
        last, count = frame, number + 1
    if count < min(stop, recording.video.num_frames):
        raise InputError(f"the video breaks off after {count} frames", where=str(recording.video.path))
    return Footage(frames, count, changes / max(1, count - 1))


def shrink(frame: Frame, factor: int) -> UInt8[np.ndarray, "rows cols 3"]:
    """Undo an enlargement of `core.generate.enlarge`: the frame whose enlargement comes nearest.

    Enlarging is linear, so least squares finds it; averaging would blur and so flatter every comparison.

    Raises:
        InputError: The sides are no multiples of the factor.
    """
    if factor == 1:
        return frame
    height, width = frame.shape[:2]
    if height % factor or width % factor:
        raise InputError(f"frames of {width}x{height} are no enlargement by {factor}", where="video")
    rows, cols = _undo(height // factor, factor), _undo(width // factor, factor)
    flat = rows @ frame.astype(np.float32).reshape(height, width * 3)
    small = np.einsum("rwc,kw->rkc", flat.reshape(-1, width, 3), cols, optimize=True)
    levels: UInt8[np.ndarray, "rows cols 3"] = np.clip(np.round(small), 0, 255).astype(np.uint8)
    return levels


@lru_cache(maxsize=8)
def _undo(size: int, factor: int) -> Float32[np.ndarray, "size large"]:
    """Least-squares inverse of enlarging a row of pixels."""
    impulses = np.eye(size, dtype=np.float32)
    rows = [
        Image.fromarray(row[None]).resize((size * factor, 1), Image.Resampling.BICUBIC) for row in impulses
    ]
    inverse: Float32[np.ndarray, "size large"] = np.linalg.pinv(
        np.concatenate([np.asarray(row) for row in rows]).T
    ).astype(np.float32)
    return inverse
