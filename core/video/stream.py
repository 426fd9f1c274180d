"""Frames of a video one at a time, in memory that does not grow with its length."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from typing import IO, cast

import numpy as np
from jaxtyping import UInt8

from core.video.ffmpeg import ffmpeg_exe
from core.video.reader import VideoInfo


def stream_video(info: VideoInfo) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Decode a video to RGB frames, one after another.

    A file whose end is cut off ends early: count what comes.

    Args:
        info: Of a video that is stored upright, as ours are.
    """
    command = [ffmpeg_exe(), "-hide_banner", "-nostdin", "-nostats", "-i", f"file:{info.path}"]
    command += ["-map", "0:v:0", "-pix_fmt", "rgb24", "-f", "rawvideo", "pipe:1"]
    frame_bytes = info.width * info.height * 3
    with (
        tempfile.TemporaryFile() as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr) as process,
    ):
        pipe = cast("IO[bytes]", process.stdout)
        try:
            while len(data := pipe.read(frame_bytes)) == frame_bytes:
                yield np.frombuffer(data, np.uint8).reshape(info.height, info.width, 3)
        finally:
            process.kill()  # whoever has seen enough does not wait for the rest
