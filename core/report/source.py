"""What a run folder holds for a report, and what is missing."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import UInt8

from core.config import GenerateConfig
from core.errors import InputError, WorldKVError
from core.models.registry import model_entry
from core.report.track import Track
from core.runlog import load_run, read_chunks, totals_of
from core.schemas.run import ChunkRecord, RunLog
from core.script import load_script
from core.video.reader import VideoInfo, video_info
from core.viewlog import View, read_views
from trajectories.errors import TrajectoryError

logger = logging.getLogger(__name__)

VIDEOS: Final = ("video.mp4", "video.partial.mp4")


@dataclass(frozen=True, eq=False, kw_only=True)
class RunSource:
    """A run, as far as its folder tells.

    Attributes:
        folder: The run folder.
        log: What run.json and chunks.jsonl say.
        video: The video; None if there is none that plays.
        track: Where the camera was; None if nobody knows any more.
        kept: For each chunk the share of layers that store each token, in 255ths; empty for old runs.
        missing: What the report cannot show, and why.
    """

    folder: Path
    log: RunLog
    video: VideoInfo | None
    track: Track | None
    kept: tuple[UInt8[np.ndarray, "latent_frames rows cols"], ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def chunks(self) -> tuple[ChunkRecord, ...]:
        """The records of its chunks."""
        return self.log.chunks

    @property
    def fps(self) -> float | None:
        """Video frames a second, of the video or as the log has it; None if nobody knows."""
        if self.video is not None:
            return self.video.fps
        return self.log.video.fps if self.log.video is not None else None

    @property
    def num_frames(self) -> int:
        """Video frames of the finished chunks."""
        return sum(record.num_frames for record in self.chunks)

    @property
    def given_frames(self) -> int:
        """First video frames that were given, not generated."""
        return sum(record.num_frames for record in self.chunks if record.given)

    @property
    def mode(self) -> str:
        """Memory mode."""
        return str(self.log.plan.get("memory") or self.log.config.get("memory") or "unknown")


@dataclass
class _Missing:
    said: list[str] = field(default_factory=list)

    def say(self, what: str) -> None:
        self.said.append(what)


def load_source(path: Path) -> RunSource:
    """Read a run folder.

    Raises:
        InputError: It holds no run, or its logs are damaged.
    """
    folder, missing = (path.parent if path.name == "run.json" else path), _Missing()
    log = _log(folder, missing)
    video = _video(folder, missing)
    views = _views(folder, len(log.chunks), missing)
    track = Track.of_views(views, log.chunks) if views else _planned_track(log, missing)
    if not log.chunks:
        missing.say("No chunk was finished: there is nothing to draw.")
    return RunSource(
        folder=folder,
        log=log,
        video=video,
        track=track,
        kept=tuple(view.kept for view in views),
        missing=tuple(missing.said),
    )


def _log(folder: Path, missing: _Missing) -> RunLog:
    """The run log, or what is left of it."""
    chunks = folder / "chunks.jsonl"
    if (folder / "run.json").exists() or not chunks.exists():
        log = load_run(folder)
        if log.status == "running":
            missing.say("The run was killed, or is still going on: totals are of the chunks that are logged.")
        return log
    records = tuple(read_chunks(chunks))
    began = datetime.fromtimestamp(chunks.stat().st_mtime, UTC)
    missing.say("run.json is missing: settings, camera path, versions, device and plan are unknown.")
    return RunLog(
        name=folder.resolve().name,
        status="running",
        started_at=began,
        seed=0,
        config={},
        chunks=records,
        totals=totals_of(records),
    )


def _video(folder: Path, missing: _Missing) -> VideoInfo | None:
    for name in VIDEOS:
        if (folder / name).exists():
            try:
                return video_info(folder / name)
            except InputError as error:
                missing.say(f"{name} does not play: {error.problem}.")
    if not any((folder / name).exists() for name in VIDEOS):
        missing.say("There is no video: nothing to play, and no revisits to compare.")
    return None


def _views(folder: Path, num_chunks: int, missing: _Missing) -> list[View]:
    """Cameras and kept tokens, of the logged chunks."""
    path = folder / "views.jsonl"
    if not path.exists():
        if num_chunks:
            missing.say("views.jsonl is missing (an older version made this run): no masks of kept tokens.")
        return []
    try:
        views = list(read_views(path))[:num_chunks]
    except InputError as error:
        missing.say(f"views.jsonl is not used: {error.problem} ({error.where}).")
        return []
    if [view.chunk for view in views] != list(range(num_chunks)):
        missing.say("views.jsonl is not used: it does not belong to these chunks.")
        return []
    return views


def _planned_track(log: RunLog, missing: _Missing) -> Track | None:
    """The camera path of the settings, if their trajectory is still what it was."""
    if not log.chunks or not log.config:
        return None
    try:
        config = GenerateConfig.model_validate(log.config)
        entry = model_entry(config.model)
        script = load_script(config, entry)
        if script.trajectory.source_sha256 != log.trajectory_sha256:
            missing.say(f"The trajectory {config.traj} is not the one of the run any more: no path.")
            return None
        viewpoints = entry.outliner()(config, script).viewpoints
    except (WorldKVError, TrajectoryError, ValueError) as error:
        said = getattr(error, "problem", str(error).splitlines()[0])
        missing.say(f"The path is unknown: {said}.")
        return None
    return Track.of_plan(script.trajectory.c2w, viewpoints, log.chunks)
