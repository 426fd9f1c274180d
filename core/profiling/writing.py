"""What writing the video takes, apart from everything else."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from core.generate import enlarge
from core.schemas.profile import Writing
from core.video.writer import Mp4Writer

FEW_FRAMES, MANY_FRAMES = 4, 36


def measure_writing(
    frames: UInt8[np.ndarray, "frames height width 3"], scale: int, fps: float, *, chunk_frames: int
) -> Writing:
    """Write two videos of some frames again and again, a short one and a longer one.

    Args:
        frames: Video frames as they are decoded.
        scale: Enlargement for display.
        fps: Frames per second.
        chunk_frames: Video frames of a chunk.
    """
    few, many = (_write_s(frames, count, scale, fps) for count in (FEW_FRAMES, MANY_FRAMES))
    encoded_s = max(0.0, (many.encoded_s - few.encoded_s) / (MANY_FRAMES - FEW_FRAMES))
    return Writing(
        frame_ms=many.frame_s * 1e3,
        chunk_ms=chunk_frames * many.frame_s * 1e3,
        encoded_frame_ms=encoded_s * 1e3,
        fixed_ms=max(0.0, few.encoded_s - FEW_FRAMES * encoded_s) * 1e3,
        width=frames.shape[2] * scale,
        height=frames.shape[1] * scale,
    )


class _Written(NamedTuple):
    """Seconds.

    Attributes:
        frame_s: Median of enlarging a frame and making it bytes, which the writer does before it returns.
        encoded_s: Until the whole video is finished.
    """

    frame_s: float
    encoded_s: float


def _write_s(
    frames: UInt8[np.ndarray, "frames height width 3"], count: int, scale: int, fps: float
) -> _Written:
    height, width = (side * scale for side in frames.shape[1:3])
    handed = []
    with tempfile.TemporaryDirectory(prefix="worldkv-profile-") as folder:
        began = time.perf_counter()
        with Mp4Writer(Path(folder) / "video.mp4", width, height, fps, overwrite=False) as video:
            for number in range(count):
                at = number % len(frames)
                start = time.perf_counter()
                large = enlarge(frames[at : at + 1], scale)
                large.tobytes()
                handed.append(time.perf_counter() - start)
                video.push(large)
        return _Written(statistics.median(handed), time.perf_counter() - began)
