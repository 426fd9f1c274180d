"""A run folder, opened: what it was asked for, its cameras, and its video."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float64
from pydantic import ValidationError

from core.config import GenerateConfig, Resolved
from core.errors import InputError, WorldKVError
from core.models.registry import model_entry
from core.runlog import hash_file, load_run
from core.schemas.run import RunLog
from core.script import Script, load_script
from core.video.reader import VideoInfo, video_info
from trajectories.errors import TrajectoryError

VIDEOS: Final = ("video.mp4", "video.partial.mp4")
_WHERE_MADE: Final = "paths in run.json are relative to the folder where the run was made: evaluate there"


@dataclass(frozen=True, eq=False)
class Recording:
    """A finished or interrupted run.

    Attributes:
        folder: Where it lies.
        log: Its run.json, chunk records included.
        config: Its settings.
        script: What it shows, compiled again and checked against the log's hash.
        video: Its video.
        notes: What is odd about it.
    """

    folder: Path
    log: RunLog
    config: GenerateConfig
    script: Script
    video: VideoInfo
    notes: tuple[str, ...] = ()

    @property
    def resolved(self) -> Resolved:
        """Its settings, and who set them."""
        told = f"{self.folder / 'run.json'}"
        return Resolved(self.config, dict.fromkeys(self.log.config_sources, told))

    @property
    def c2w(self) -> Float64[np.ndarray, "frames 4 4"]:
        """Cameras of all video frames of the script, also of those that an interrupted run did not reach."""
        return self.script.trajectory.c2w

    @property
    def num_frames(self) -> int:
        """Video frames that are there."""
        return self.video.num_frames

    @property
    def given_frames(self) -> int:
        """First video frames that were given, not generated; a first picture is not counted."""
        return sum(record.num_frames for record in self.log.chunks if record.given)

    @cached_property
    def enlargement(self) -> int:
        """How many times the model's own size the video's frames are."""
        if self.config.model != "mini":
            return self.config.scale or 1
        width = model_entry("mini").outliner()(self.config, self.script).frame_size[0]
        return max(1, self.video.width // width)


def open_recording(folder: Path) -> Recording:
    """Open a run folder.

    Args:
        folder: The folder that `worldkv generate` made.

    Raises:
        InputError: It is no run folder, there is no video, or the trajectory is gone or another one now.
    """
    _check_folder(folder)
    log = load_run(folder)
    config = _config(folder, log)
    video = _video(folder, log)
    script = _script(folder, log, config)
    if video.num_frames > script.trajectory.num_frames:
        raise InputError(
            f"the video has {video.num_frames} frames, its trajectory {script.trajectory.num_frames}",
            where=str(video.path),
            hint="is it the video of this run?",
        )
    return Recording(folder, log, config, script, video, tuple(_notes(log, video, script)))


def _check_folder(folder: Path) -> None:
    if not folder.exists():
        raise InputError("there is no such run folder", where=str(folder), hint="see: ls runs")
    if not folder.is_dir():
        raise InputError(
            "a run folder was expected, this is a file", where=str(folder), hint="name its folder"
        )
    if (folder / "run.json").exists():
        return
    inside = sorted(each.parent.name for each in folder.glob("*/run.json"))
    if (folder / "batch.jsonl").exists() or (folder / ".batch").is_dir():
        raise InputError(
            "this is the folder of a batch, not of a run",
            where=str(folder),
            hint=f"name its runs: {folder}/*/",
        )
    if inside:
        raise InputError(
            f"this folder holds {len(inside)} runs and is none itself",
            where=str(folder),
            hint=f"name one of them: {folder / inside[0]}",
        )
    hint = "name a folder that `worldkv generate` made"
    raise InputError("there is no run.json in this folder", where=str(folder), hint=hint)


def _config(folder: Path, log: RunLog) -> GenerateConfig:
    try:
        return GenerateConfig.model_validate(log.config)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"a setting of the run is not known here: {key}: {first['msg']}",
            where=str(folder / "run.json"),
            hint="evaluate it with the version that made it; run.json says which",
        ) from None


def _video(folder: Path, log: RunLog) -> VideoInfo:
    for name in VIDEOS:
        if (folder / name).is_file():
            return video_info(folder / name)
    if log.failure is not None:
        told = f"the run failed and left no video: {log.failure.problem}"
        raise InputError(told, where=str(folder), hint=log.failure.hint or "generate it again")
    raise InputError("the run left no video", where=str(folder), hint=f"its status is {log.status!r}")


def _script(folder: Path, log: RunLog, config: GenerateConfig) -> Script:
    """What the run showed; a trajectory that is gone or another one is no longer what was shown."""
    traj = str(config.traj)
    try:
        script = load_script(config, model_entry(config.model))
        _check_unchanged(log, "prefix_traj", config.prefix_traj)
    except (TrajectoryError, WorldKVError) as error:
        raise InputError(
            f"the camera path of {folder} cannot be made again: {error.problem}",
            where=error.where or traj,
            hint=_WHERE_MADE,
        ) from None
    if script.trajectory.source_sha256 != log.trajectory_sha256:
        raise InputError(
            f"the trajectory {traj} is not the one that {folder} was made with",
            where=traj,
            hint=f"bring back the text of SHA-256 {log.trajectory_sha256[:12]}, or generate the run again",
        )
    return script


def _check_unchanged(log: RunLog, key: str, now: str | None) -> None:
    before = log.inputs.get(key)
    if before is not None and now is not None and hash_file(Path(now)).sha256 != before.sha256:
        raise InputError(f"{now} is not the file that it was made with", where=now)


def _notes(log: RunLog, video: VideoInfo, script: Script) -> list[str]:
    if video.num_frames < script.trajectory.num_frames:
        told = f"{video.num_frames} of {script.trajectory.num_frames} frames are there"
        why = {"running": "it was killed, or is still running", "interrupted": "it was interrupted"}
        return [f"{told}: {why.get(log.status, 'it ' + log.status)}"]
    return []
