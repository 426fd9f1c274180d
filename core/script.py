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
        given_frames: First video frames, whole chunks, whose pictures a prefix video gives.
        notes: What had to be done to fill whole chunks, for the user.
    """

    trajectory: Trajectory
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
    first, later = entry.first_chunk_frames, entry.later_chunk_frames
    script = load(config.traj)
    if not isinstance(config.prefix, Path) or config.prefix_traj is None:
        whole, change = script.fit_chunks(first_frames=first, later_frames=later, how=config.fit)
        return Script(whole, notes=_notes(script.num_frames, change))
    path = load(config.prefix_traj)
    clip, cut = path.fit_chunks(first_frames=first, later_frames=later, how="cut")
    notes = _clip_notes(config.prefix, path.num_frames, clip.num_frames, cut)
    joined = after(clip, script)
    whole, change = joined.fit_chunks(first_frames=first, later_frames=later, how=config.fit)
    if whole.num_frames <= clip.num_frames:
        raise InputError(
            f"nothing is left to generate: {script.num_frames} frames do not fill a chunk after the prefix",
            where="--traj",
            hint="make the trajectory longer, or use --fit pad",
        )
    return Script(whole, clip.num_frames, notes + _notes(joined.num_frames, change))


def _notes(num_frames: int, change: int) -> tuple[str, ...]:
    if change < 0:
        left_out = f"the last {-change} of {num_frames} video frames do not fill a chunk and are left out"
        return (f"{left_out} (--fit pad holds the last pose instead)",)
    if change > 0:
        return (f"the last pose is held for {change} more video frames, {num_frames + change} in all",)
    return ()


def _clip_notes(video: Path, path_frames: int, clip_frames: int, cut: int) -> tuple[str, ...]:
    """What of the prefix is not used."""
    found = video_info(video).num_frames
    if found < clip_frames:
        raise InputError(
            f"the prefix video has {found} frames, its camera path {path_frames}",
            where="--prefix-traj",
            hint="give the camera path of exactly this video",
        )
    notes = []
    if cut:
        notes.append(
            f"the last {-cut} of the prefix's {path_frames} cameras do not fill a chunk and are left out"
        )
    if found > path_frames:
        notes.append(
            f"the prefix video has {found} frames, its camera path {path_frames}: the rest is left out"
        )
    return tuple(notes)
