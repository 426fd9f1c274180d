"""Single frames out of a video, in constant memory: it is decoded once from its start, and most is let go."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import IO, Final, cast

import numpy as np
from jaxtyping import UInt8

from core.errors import InputError
from core.video.ffmpeg import ffmpeg_exe, last_words
from core.video.reader import VideoInfo

_COMMAND: Final = ("-map", "0:v:0", "-pix_fmt", "rgb24", "-f", "rawvideo", "pipe:1")


def pick_frames(info: VideoInfo, wanted: Collection[int]) -> dict[int, UInt8[np.ndarray, "height width 3"]]:
    """The wanted frames of a video, as far as it has them.

    Args:
        info: The video, as `video_info` describes it.
        wanted: Frame numbers, from 0.

    Raises:
        InputError: The video cannot be decoded.
    """
    if not wanted:
        return {}
    last, found = max(wanted), {}
    with decoded(info, last + 1) as frames:
        for number, frame in enumerate(frames):
            if number in wanted:
                found[number] = frame
    return found


@contextmanager
def decoded(info: VideoInfo, num_frames: int) -> Iterator[Iterator[UInt8[np.ndarray, "height width 3"]]]:
    """The first frames of a video, one after another.

    Raises:
        InputError: Not one of them can be decoded.
    """
    command = [ffmpeg_exe(), "-hide_banner", "-nostdin", "-nostats", "-i", f"file:{info.path}"]
    command += ["-frames:v", str(num_frames), *_COMMAND]
    with tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr)
        pipe = cast("IO[bytes]", process.stdout)
        try:
            yield _frames(pipe, info, stderr)
        finally:
            pipe.close()
            process.kill()
            process.wait()


def _frames(
    pipe: IO[bytes], info: VideoInfo, stderr: IO[bytes]
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    size, number = info.width * info.height * 3, 0
    while len(data := pipe.read(size)) == size:
        yield np.frombuffer(data, np.uint8).reshape(info.height, info.width, 3)
        number += 1
    if number == 0:
        problem = f"the video cannot be decoded: {last_words(stderr)}"
        raise InputError(problem, where=str(info.path), hint="does a video player show the file?")
