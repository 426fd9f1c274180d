"""Writes frames to an MP4 that stays playable whatever happens to the run."""

from __future__ import annotations

import logging
import os
import queue
import subprocess
import tempfile
import threading
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, Final, cast

import numpy as np
from jaxtyping import UInt8

from core.errors import InputError, OutputError
from core.video.ffmpeg import ffmpeg_exe, ffmpeg_version, last_words
from core.video.reader import VideoInfo, video_info

logger = logging.getLogger(__name__)

DEFAULT_CRF = 14
"""H.264 quality. 14 is close to lossless to the eye; one step of 6 halves the bit rate."""

_BT709 = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv")
_TO_YUV = (
    "scale=in_range=pc:out_range=tv:out_color_matrix=bt709:flags=accurate_rnd+full_chroma_int,"
    "format=yuv420p,setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709"
)
_QUEUED_PUSHES: Final = 2  # bounds memory; enough that encoding overlaps with denoising
_DISK_HINT: Final = "free some space, or choose another --out"
_PROBE_BYTES: Final = 1 << 20  # a disk that cannot take this much will not take a video


def write_check(path: Path) -> None:
    """Fail now rather than after the first chunk: is there an ffmpeg, and room for a video at `path`?

    Raises:
        OutputError: ffmpeg is missing or lacks H.264, or the folder of `path` takes no file.
    """
    ffmpeg_version(ffmpeg_exe())
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".write-check-") as probe:
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        problem = f"the output folder cannot be written: {error.strerror}"
        raise OutputError(problem, where=str(path.parent), hint=_DISK_HINT) from error


class Mp4Writer:
    """An H.264 MP4 that grows frame by frame.

    Frames go to an ffmpeg of our own making rather than through imageio: it runs in its own session, so that
    a Ctrl-C in the terminal, which every process of the foreground group receives, cannot end it before the
    finished frames are safely in the file. A thread feeds it, so that a Ctrl-C cannot tear a frame either,
    and encoding overlaps with the next chunk's denoising.

    Until `close` the frames are in `<stem>.partial.mp4`, a fragmented MP4 that plays up to its last seconds
    even if the machine loses power. `close` copies it, without encoding again, into a plain MP4 whose index
    comes first, and gives it the final name in one step.

    Args:
        path: The MP4 to make; its folder must exist.
        width: Width of the frames in pixels; even, as yuv420p demands.
        height: Height of the frames in pixels; even.
        fps: Frames per second. Range: above 0.
        overwrite: Whether a file at `path` may be replaced.
        crf: Constant rate factor of x264. Range: 0 (lossless) to 51.

    Raises:
        InputError: Odd sizes, an impossible frame rate, or `path` exists and `overwrite` is off.
        OutputError: ffmpeg is missing.
    """

    def __init__(
        self, path: Path, width: int, height: int, fps: float, *, overwrite: bool, crf: int = DEFAULT_CRF
    ) -> None:
        if width <= 0 or height <= 0 or width % 2 or height % 2:
            problem = f"an MP4 needs even frame sizes, got {width}x{height}"
            raise InputError(problem, where=str(path), hint="an even --scale makes any size even")
        if not 0 < fps <= 1000:
            raise InputError(f"fps must lie in (0, 1000], got {fps:g}", where=str(path), hint="16 is usual")
        if path.exists() and not overwrite:
            raise InputError("the video exists already", where=str(path), hint="--overwrite replaces it")
        self.path = path
        self.partial_path = path.with_name(f"{path.stem}.partial.mp4")
        self._width, self._height, self._fps, self._crf = width, height, fps, crf
        self._exe = ffmpeg_exe()
        self._frames_written = 0
        self._closed = False
        self._failed = False  # a write to ffmpeg broke
        self._said = ""  # ffmpeg's last words, read from `_stderr` once it is gone
        self._pushes: queue.Queue[bytes | None] = queue.Queue(maxsize=_QUEUED_PUSHES)
        # A file, not a pipe: nobody has to drain it.
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as ffmpeg
        self._process = self._start()
        self._feeder = threading.Thread(target=self._feed, name=f"feed {path.name}", daemon=True)
        self._feeder.start()

    @property
    def frames_written(self) -> int:
        """Video frames handed to ffmpeg so far."""
        return self._frames_written

    def push(self, frames: UInt8[np.ndarray, "frames height width 3"]) -> None:
        """Append RGB frames; returns once they are copied, and blocks only while ffmpeg is far behind.

        Raises:
            OutputError: ffmpeg died, for example on a full disk; what it had written is kept.
        """
        if self._closed:
            raise ValueError("push after close")
        if frames.shape[1:] != (self._height, self._width, 3):
            raise ValueError(f"frames of {self._width}x{self._height} were announced, got {frames.shape}")
        if self._failed:
            raise self._death()
        self._pushes.put(frames.tobytes())

    def close(self) -> VideoInfo:
        """Finish the file and give it its final name.

        Raises:
            OutputError: No frames were pushed, or ffmpeg failed; what it had written is kept.
        """
        if self._closed:
            return video_info(self.path)
        self._closed = True
        self._pushes.put(None)
        self._feeder.join()
        exit_code = self._process.wait()
        if self._failed or exit_code != 0:
            raise self._death()
        self._stderr.close()
        if self._frames_written == 0:
            self.partial_path.unlink(missing_ok=True)
            raise OutputError("no frame was finished, so there is no video", where=str(self.path))
        self._finalise()
        return video_info(self.path)

    def __enter__(self) -> Mp4Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        try:
            self.close()
        except OutputError as closing:  # the error on its way out matters more
            if closing.problem != str(error):
                logger.warning("%s (%s)", closing.problem, closing.where)

    def _start(self) -> subprocess.Popen[bytes]:
        rate = str(Fraction(self._fps).limit_denominator(1001))
        command = [self._exe, "-hide_banner", "-loglevel", "error", "-nostats", "-y"]
        command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{self._width}x{self._height}"]
        command += ["-framerate", rate, "-i", "pipe:0", "-an", "-vf", _TO_YUV]
        command += ["-c:v", "libx264", "-preset", "medium", "-crf", str(self._crf), *_BT709]
        # A fragment goes to the file at every keyframe, hence a keyframe every second.
        command += ["-g", str(max(1, round(self._fps))), "-flush_packets", "1"]
        command += ["-movflags", "frag_keyframe+empty_moov+default_base_moof", "-f", "mp4"]
        command.append(f"file:{self.partial_path}")
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            self._stderr.close()
            raise OutputError(f"ffmpeg does not start: {error.strerror}", where=self._exe) from error

    def _feed(self) -> None:
        """Thread: hand the queued frames to ffmpeg; after a failure, only empty the queue."""
        pipe = cast("IO[bytes]", self._process.stdin)
        frame_bytes = self._width * self._height * 3
        while (pushed := self._pushes.get()) is not None:
            view = memoryview(pushed)
            try:
                while view and not self._failed:
                    view = view[pipe.write(view) :]
            except OSError:  # BrokenPipeError, as a rule: ffmpeg is gone
                self._failed = True
            self._frames_written += (len(pushed) - len(view)) // frame_bytes
        try:
            pipe.close()
        except OSError:
            self._failed = True

    def _finalise(self) -> None:
        temporary = self.path.with_name(f".{self.path.stem}.final.mp4")
        command = [self._exe, "-hide_banner", "-loglevel", "error", "-nostats", "-nostdin", "-y"]
        command += ["-i", f"file:{self.partial_path}", "-map", "0:v:0", "-c", "copy", *_BT709]
        command += ["-movflags", "+faststart", "-f", "mp4", f"file:{temporary}"]
        try:
            done = subprocess.run(command, capture_output=True, check=False, start_new_session=True)
            if done.returncode != 0:
                said = done.stderr.decode(errors="replace").strip().splitlines()
                raise self._kept(f"ffmpeg could not finish the video: {'; '.join(said[-2:])}")
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(self.path)
            self.partial_path.unlink()
        except OSError as error:
            raise self._kept(f"the video could not be finished: {error.strerror}") from error
        finally:
            temporary.unlink(missing_ok=True)

    def _death(self) -> OutputError:
        """The error to raise for an ffmpeg that ended early."""
        self._process.wait()
        if not self._stderr.closed:
            self._said = last_words(self._stderr) or f"it said nothing, exit code {self._process.returncode}"
            self._stderr.close()
        return self._kept(f"ffmpeg stopped writing the video: {self._said}")

    def _kept(self, problem: str) -> OutputError:
        """`problem`, and where the frames finished so far can be found."""
        if self.partial_path.exists() and self.partial_path.stat().st_size > 0:
            return OutputError(problem, where=str(self.partial_path), hint=f"{_DISK_HINT}; this part plays")
        return OutputError(problem, where=str(self.path), hint=_DISK_HINT)
