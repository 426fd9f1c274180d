"""A picture of a batch: some frames of every finished job, a row a job."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from core.batch.state import JobStatus
from core.contact_sheet import SheetRow, contact_sheet
from core.errors import InputError
from core.video.ffmpeg import ffmpeg_exe
from core.video.reader import video_info


def batch_sheet(
    statuses: Sequence[JobStatus], *, frames: Sequence[int] = (), num_columns: int = 6, title: str = ""
) -> Image.Image:
    """Draw the finished jobs of a batch.

    Args:
        statuses: The jobs.
        frames: Numbers of the video frames to show; none for `num_columns`, evenly spread over each video.
        num_columns: How many are shown if none are named.
        title: A line above everything.

    Raises:
        InputError: No job is done, or a video is missing or too short.
    """
    videos = [(status, status.job.folder / "video.mp4") for status in statuses if status.state == "done"]
    if not videos:
        raise InputError("no job is done, so there is nothing to show", hint="see: worldkv batch status")
    rows = []
    for status, video in videos:
        count = video_info(video).num_frames
        chosen = list(frames) or np.linspace(0, count - 1, num_columns).round().astype(int).tolist()
        if max(chosen) >= count:
            hint = f"its last one is {count - 1}"
            raise InputError(f"the video has no frame {max(chosen)}", where=str(video), hint=hint)
        rows.append(SheetRow(status.job.name, read_frames(video, chosen), _note(status)))
    shares = [f"{share:.0%}" for share in np.linspace(0, 1, num_columns)]
    return contact_sheet(rows, [f"t = {frame}" for frame in frames] or shares, title=title)


def read_frames(path: Path, numbers: Sequence[int]) -> list[UInt8[np.ndarray, "height width 3"]]:
    """Single frames of a video, in the order asked for; only they are held in memory.

    Args:
        path: The video.
        numbers: Frames, counted from 0.

    Raises:
        InputError: The video cannot be read, or is shorter than it says.
    """
    info = video_info(path)
    wanted = sorted(set(numbers))
    chosen = "+".join(f"eq(n\\,{number})" for number in wanted)
    command = [ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-nostdin", "-i", f"file:{path}"]
    command += ["-map", "0:v:0", "-vf", f"select={chosen}", "-fps_mode", "passthrough"]
    command += ["-pix_fmt", "rgb24", "-f", "rawvideo", "pipe:1"]
    done = subprocess.run(command, capture_output=True, check=False)
    pixels = np.frombuffer(done.stdout, np.uint8)
    if len(pixels) != len(wanted) * info.width * info.height * 3:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        problem = f"frames of the video cannot be read: {said[-1] if said else 'it is too short'}"
        raise InputError(problem, where=str(path))
    found = dict(zip(wanted, pixels.reshape(len(wanted), info.height, info.width, 3), strict=True))
    return [found[number] for number in numbers]


def _note(status: JobStatus) -> str:
    fidelity = status.summary.fidelity if status.summary is not None else None
    return f"revisits {fidelity.psnr_db:.1f} dB" if fidelity is not None else ""
