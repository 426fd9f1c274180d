"""Reads videos and pictures into arrays."""

from __future__ import annotations

import io
import re
import subprocess
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from core.errors import InputError
from core.video.ffmpeg import ffmpeg_exe, last_words

MAX_DECODED_BYTES = 4 * 2**30
"""What `read_video` is willing to hold at once: about 3,500 frames of 832x480."""

MAX_IMAGE_PIXELS = 100_000_000
"""A picture above this is a mistake or a decompression bomb, not a first frame."""

# "Video: h264 (High) (avc1 / 0x31637661), yuv420p(tv, bt709, progressive), 64x48, 343 kb/s, 16 fps, ..."
_VIDEO_LINE = re.compile(r"Stream #.*: Video: (?P<codec>\w+).*?, (?P<pix_fmt>[a-z]\w+).*?, (?P<size>\d+x\d+)")
_FPS = re.compile(r", (?P<fps>[\d.]+k?) fps")


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds.

    Attributes:
        path: The file.
        width: Width in pixels.
        height: Height in pixels.
        fps: Frames per second.
        num_frames: Video frames, counted packet by packet rather than taken from the header.
        codec: Name of the codec, for example "h264".
        pix_fmt: Name of the pixel format, for example "yuv420p".
        size_bytes: Size of the file.
    """

    path: Path
    width: int
    height: int
    fps: float
    num_frames: int
    codec: str
    pix_fmt: str
    size_bytes: int

    @property
    def duration_s(self) -> float:
        """Seconds that the video plays."""
        return self.num_frames / self.fps


def video_info(path: Path) -> VideoInfo:
    """Describe a video file, without decoding it.

    Raises:
        InputError: The file is missing or holds no readable video.
    """
    _require_file(path, "video")
    command = [ffmpeg_exe(), "-hide_banner", "-nostdin", "-i", _url(path), "-map", "0:v:0", "-c", "copy"]
    command += ["-progress", "pipe:1", "-nostats", "-f", "null", "-"]
    done = subprocess.run(command, capture_output=True, check=False)
    told = done.stderr.decode(errors="replace")
    stream = next((line for line in told.splitlines() if "Video:" in line), "")
    counts = re.findall(r"^frame=\s*(\d+)", done.stdout.decode(errors="replace"), flags=re.MULTILINE)
    match, fps = _VIDEO_LINE.search(stream), _FPS.search(stream)
    if match is None or fps is None or not counts or int(counts[-1]) == 0:
        said = next((line for line in reversed(told.splitlines()) if "rror" in line), "no video stream in it")
        raise _unreadable_video(path, said.strip())
    width, height = (int(size) for size in match["size"].split("x"))
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        fps=float(fps["fps"].replace("k", "e3")),
        num_frames=int(counts[-1]),
        codec=match["codec"],
        pix_fmt=match["pix_fmt"],
        size_bytes=path.stat().st_size,
    )


def read_video(
    path: Path, *, max_frames: int | None = None, max_bytes: int = MAX_DECODED_BYTES
) -> UInt8[np.ndarray, "frames height width 3"]:
    """Decode a video to RGB frames, upright as a player shows them.

    Args:
        path: Any video that ffmpeg reads. Its end may be cut off, as after a crash.
        max_frames: Read the first `max_frames` frames only.
        max_bytes: Refuse a video whose frames take more memory than this.

    Raises:
        InputError: The file is missing, unreadable, or too long to hold.
    """
    info = video_info(path)
    frame_bytes = info.width * info.height * 3
    num_frames = info.num_frames if max_frames is None else min(info.num_frames, max_frames)
    if num_frames * frame_bytes > max_bytes:
        problem = f"{num_frames} frames of {info.width}x{info.height} need {num_frames * frame_bytes:,} bytes"
        hint = f"read at most {max_bytes // frame_bytes} frames of it"
        raise InputError(f"{problem}, more than {max_bytes:,}", where=str(path), hint=hint)
    data = bytearray(num_frames * frame_bytes)
    command = [ffmpeg_exe(), "-hide_banner", "-nostdin", "-nostats", "-i", _url(path), "-map", "0:v:0"]
    command += ["-frames:v", str(num_frames), "-pix_fmt", "rgb24", "-f", "rawvideo", "pipe:1"]
    with (
        tempfile.TemporaryFile() as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, bufsize=0) as process,
    ):
        pipe, view, filled = cast(io.RawIOBase, process.stdout), memoryview(data), 0
        while count := pipe.readinto(view[filled:]):
            filled += count
        process.wait()
        stderr.seek(0)
        told = stderr.read().decode(errors="replace")
        said = last_words(stderr)
    output = told.partition("Output #0")[2]  # the size after rotation by the file's display matrix
    match = _VIDEO_LINE.search(output)
    if match is None or filled < frame_bytes:
        raise _unreadable_video(path, said)
    width, height = (int(size) for size in match["size"].split("x"))
    num_read = filled // frame_bytes
    return np.frombuffer(data, np.uint8, num_read * frame_bytes).reshape(num_read, height, width, 3)


def read_image(path: Path) -> UInt8[np.ndarray, "height width 3"]:
    """Read a picture as RGB: turned upright as its EXIF tag says, transparent parts on black.

    Raises:
        InputError: The file is missing, no picture, damaged or absurdly large.
    """
    _require_file(path, "image")
    try:
        with _open_image(path) as image:
            if image.width * image.height > MAX_IMAGE_PIXELS:
                raise _huge_image(path, f"is {image.width}x{image.height},")
            rgba = ImageOps.exif_transpose(image).convert("RGBA")
    except Image.DecompressionBombError:  # Pillow's own limit, where it does not tell the size
        raise _huge_image(path, "has") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        said = "not a picture" if isinstance(error, UnidentifiedImageError) else str(error)
        hint = "PNG, JPEG and WebP files can be read"
        raise InputError(f"the image cannot be read: {said}", where=str(path), hint=hint) from error
    upright = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
    upright.alpha_composite(rgba)
    return np.array(upright.convert("RGB"))


def _open_image(path: Path) -> Image.Image:
    with warnings.catch_warnings():  # Pillow warns of large pictures; ours is an error with a hint
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(path)


def _huge_image(path: Path, what: str) -> InputError:
    problem = f"the image {what} more than {MAX_IMAGE_PIXELS:,} pixels"
    return InputError(problem, where=str(path), hint="scale it down first")


def _url(path: Path) -> str:
    """`path` as ffmpeg takes it: a colon or a leading dash in a name is no protocol and no option."""
    return f"file:{path}"


def _require_file(path: Path, kind: str) -> None:
    article = "an" if kind == "image" else "a"
    if path.is_dir():
        raise InputError(
            f"{article} {kind} was expected, this is a folder", where=str(path), hint=f"name the {kind} file"
        )
    if not path.exists():
        raise InputError(f"the {kind} does not exist", where=str(path), hint=f"check the path of the {kind}")


def _unreadable_video(path: Path, said: str) -> InputError:
    return InputError(
        f"the video cannot be read: {said}", where=str(path), hint="does a video player show the file?"
    )
