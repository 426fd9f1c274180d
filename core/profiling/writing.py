"""What writing the video takes, apart from everything else."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

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
    few_s, many_s = (_write_s(frames, count, scale, fps) for count in (FEW_FRAMES, MANY_FRAMES))
    frame_s = max(0.0, (many_s - few_s) / (MANY_FRAMES - FEW_FRAMES))
    return Writing(
        frame_ms=frame_s * 1e3,
        chunk_ms=chunk_frames * frame_s * 1e3,
        fixed_ms=max(0.0, few_s - FEW_FRAMES * frame_s) * 1e3,
        width=frames.shape[2] * scale,
        height=frames.shape[1] * scale,
    )


def _write_s(frames: UInt8[np.ndarray, "frames height width 3"], count: int, scale: int, fps: float) -> float:
    """Seconds until a video of `count` frames is finished, encoding included."""
    height, width = (side * scale for side in frames.shape[1:3])
    with tempfile.TemporaryDirectory(prefix="worldkv-profile-") as folder:
        began = time.perf_counter()
        with Mp4Writer(Path(folder) / "video.mp4", width, height, fps, overwrite=False) as video:
            for number in range(count):
                at = number % len(frames)
                video.push(enlarge(frames[at : at + 1], scale))
        return time.perf_counter() - began
