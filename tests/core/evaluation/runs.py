"""Run folders without a model: a video of the test's own, and the log that goes with it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from core.config import GenerateConfig, resolve
from core.elements import FLOAT32
from core.evaluation.recording import Recording, open_recording
from core.evaluation.truth import Truth
from core.fitting import remember
from core.generate import enlarge
from core.models.mini.model import WEIGHTS, read_config
from core.models.mini.world import World
from core.models.registry import model_entry
from core.runlog import hash_file, totals_of, write_run
from core.schemas.run import ChunkRecord, Failure, RetrievedChunk, RunSummary
from core.script import load_script
from core.video.writer import Mp4Writer
from trajectories import load

SCALE = 2

AROUND = """\
version: 1
name: around
steps:
  - turn: {yaw_deg: 180, frames: 30}
  - turn: {yaw_deg: -180, frames: 30}
  - hold: {frames: 2}
"""
"""63 frames, 21 chunks: half a turn and back."""


def write_around(folder: Path, text: str = AROUND) -> Path:
    """The trajectory as a file."""
    path = folder / "around.yaml"
    path.write_text(text)
    return path


def write_run_folder(
    folder: Path,
    traj: Path,
    frames: np.ndarray,
    *,
    status: str = "done",
    given_chunks: int = 0,
    failure: str = "",
    video: str = "video.mp4",
    **settings: object,
) -> Path:
    """A run of mini whose video shows `frames`, enlarged as a run does."""
    folder.mkdir(parents=True)
    config = GenerateConfig.model_validate({"traj": str(traj), "scale": SCALE, **settings})
    records = [
        ChunkRecord(chunk=i, first_frame=3 * i, num_frames=3, given=i < given_chunks)
        for i in range(len(frames) // 3)
    ]
    summary = RunSummary(
        name="around",
        status=status,
        started_at=datetime.now(UTC),
        seed=config.seed,
        config=config.model_dump(mode="json"),
        inputs={"image": hash_file(config.image)} if config.image else {},
        trajectory_sha256=load(str(traj)).source_sha256,
        failure=Failure(problem=failure) if failure else None,
        totals=totals_of(records),
    )
    (folder / "chunks.jsonl").write_text("".join(r.model_dump_json() + "\n" for r in records))
    write_run(folder / "run.json", summary, chunks=folder / "chunks.jsonl")
    if len(frames):
        large = enlarge(frames, config.scale or SCALE)
        height, width = large.shape[1:3]
        with Mp4Writer(folder / "made.mp4", width, height, 16.0, overwrite=False) as writer:
            writer.push(large)
        (folder / "made.mp4").rename(folder / video)
    return folder


def planned_records(traj: Path, **settings: object) -> list[ChunkRecord]:
    """What a run of mini would log of its memory: all that was planned before its first chunk."""
    resolved = resolve({"traj": str(traj), **settings}, {})
    entry = model_entry("mini")
    outline = entry.outliner()(resolved.config, load_script(resolved.config, entry))
    plan = remember(resolved, outline, FLOAT32).plan
    return [
        ChunkRecord(
            chunk=step.chunk,
            first_frame=3 * step.chunk,
            num_frames=3,
            retrieved=tuple(
                RetrievedChunk(chunk=each.chunk, tokens=0, tier="device") for each in step.selections
            ),
            hits=step.hits,
            misses=step.misses,
            idle=step.idle,
        )
        for step in plan.steps
    ]


def true_frames(traj: Path, *, world_seed: int = 0) -> np.ndarray:
    """What a model would show that knew the world."""
    config = GenerateConfig(traj=str(traj), world_seed=world_seed)
    script = load_script(config, model_entry("mini"))
    world = World.around(script.trajectory, world_seed, read_config(WEIGHTS))
    truth = Truth(world, (), (), ())
    return np.stack([truth.picture(frame) for frame in range(script.trajectory.num_frames)])


def opened(folder: Path, traj: Path, frames: np.ndarray, **settings: object) -> Recording:
    """The same, opened."""
    return open_recording(write_run_folder(folder, traj, frames, **settings))
