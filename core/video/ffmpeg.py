"""Finds ffmpeg and reads what it says."""

from __future__ import annotations

import subprocess
from functools import cache
from typing import IO

import imageio_ffmpeg

from core.errors import OutputError

FFMPEG_HINT = "pip install imageio-ffmpeg, or set IMAGEIO_FFMPEG_EXE to an ffmpeg with libx264"


def ffmpeg_exe() -> str:
    """The ffmpeg to run: `IMAGEIO_FFMPEG_EXE` if set, else the one that imageio-ffmpeg ships or finds.

    Raises:
        OutputError: There is none.
    """
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise OutputError("ffmpeg was not found", where="ffmpeg", hint=FFMPEG_HINT) from error


@cache
def ffmpeg_version(exe: str) -> str:
    """The version that `exe` reports, for example "7.0.2"; cached, since every run asks for it.

    Raises:
        OutputError: It does not start or cannot write H.264.
    """
    listing = _output_of(exe, "-hide_banner", "-encoders")
    if "libx264" not in listing:
        raise OutputError("this ffmpeg cannot write H.264 (no libx264)", where=exe, hint=FFMPEG_HINT)
    words = _output_of(exe, "-version").split()
    return words[2] if len(words) > 2 and words[1] == "version" else "unknown"


def last_words(stderr: IO[bytes], *, max_lines: int = 2) -> str:
    """The last lines that ffmpeg left in `stderr`, as one line; empty if it said nothing."""
    stderr.seek(0)
    lines = [line.strip() for line in stderr.read().decode(errors="replace").splitlines() if line.strip()]
    return "; ".join(lines[-max_lines:])


def _output_of(exe: str, *arguments: str) -> str:
    try:
        done = subprocess.run([exe, *arguments], capture_output=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        raise OutputError(f"ffmpeg does not start: {error}", where=exe, hint=FFMPEG_HINT) from error
    return done.stdout.decode(errors="replace")
