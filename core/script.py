"""What a rollout will show: the trajectory, after the camera path of a prefix video if there is one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.config import GenerateConfig
from core.errors import InputError
from core.models.registry import ModelEntry
from core.prefix import after
from core.video.reader import video_info
from trajectories import Trajectory, load


@dataclass(frozen=True)
class Script:
    """A trajectory in whole chunks.

    Attributes:
        trajectory: Cameras and actions of every video frame, those of a prefix video included.
        uncut: The same before it was cut or padded to whole chunks.
        chunk_frames: Latent frames of a chunk.
        given_frames: First video frames, whole chunks, whose pictures a prefix video gives.
        notes: What had to be done to fill whole chunks, for the user.
    """

    trajectory: Trajectory
    uncut: Trajectory
    chunk_frames: int
    given_frames: int = 0
    notes: tuple[str, ...] = ()


def load_script(config: GenerateConfig, entry: ModelEntry) -> Script:
    """Load the trajectory of the settings, and put it after the prefix video's.

    Raises:
        InputError: There is no trajectory, or the prefix video does not go with its camera path.
        TrajectoryError: A trajectory is wrong.
    """
    if config.traj is None:
        raise InputError(
            "no trajectory given", where="--traj", hint="try --traj loop; see: worldkv traj list"
        )
    if isinstance(config.prefix, Path) and config.prefix_traj is None:
        raise InputError(
            "a prefix video needs its camera path", where="--prefix", hint="add --prefix-traj FILE"
        )
    chunk_frames = entry.pick_chunk_frames(config.chunk_frames, where="--chunk-frames")
    first, later = entry.first_chunk_frames(chunk_frames), entry.later_chunk_frames(chunk_frames)
    script = load(config.traj)
    if not isinstance(config.prefix, Path) or config.prefix_traj is None:
        whole, change = script.fit_chunks(first_frames=first, later_frames=later, how=config.fit)
        return Script(whole, script, chunk_frames, notes=_notes(script.num_frames, change))
    path = load(config.prefix_traj)
    clip, _ = path.fit_chunks(first_frames=first, later_frames=later, how="cut")
    notes = _clip_notes(config.prefix, path.num_frames, clip.num_frames)
    joined = after(clip, script)
    whole, change = joined.fit_chunks(first_frames=first, later_frames=later, how=config.fit)
    if whole.num_frames <= clip.num_frames:
        raise InputError(
            f"nothing is left to generate: {script.num_frames} frames do not fill a chunk after the prefix",
            where="--traj",
            hint="make the trajectory longer, or use --fit pad",
        )
    notes += _notes(joined.num_frames, change)
    return Script(whole, joined, chunk_frames, given_frames=clip.num_frames, notes=notes)


def _notes(num_frames: int, change: int) -> tuple[str, ...]:
    if change < 0:
        told = _left_out(-change, f"{num_frames} video frames")
        return (f"{told} (--fit pad holds the last pose instead)",)
    if change > 0:
        frames = "frame" if change == 1 else "frames"
        return (f"the last pose is held for {change} more video {frames}, {num_frames + change} in all",)
    return ()


def _clip_notes(video: Path, path_frames: int, clip_frames: int) -> tuple[str, ...]:
    """What of the prefix is not used."""
    found = video_info(video).num_frames
    if found < clip_frames:
        raise InputError(
            f"the prefix video has {found} frames, its camera path {path_frames}",
            where="--prefix-traj",
            hint="give the camera path of exactly this video",
        )
    notes: tuple[str, ...] = ()
    if clip_frames < path_frames:
        notes += (_left_out(path_frames - clip_frames, f"the prefix's {path_frames} cameras"),)
    if found > path_frames:
        told = f"the prefix video has {found} frames, its camera path {path_frames}"
        notes += (f"{told}: the rest is left out",)
    return notes


def _left_out(count: int, of_what: str) -> str:
    return f"the last {count} of {of_what} {'does' if count == 1 else 'do'} not fill a chunk and " + (
        "is left out" if count == 1 else "are left out"
    )
