"""The main job: a scripted trajectory in, a video and its log out.

`prepare` checks everything that can be checked before weights load; `Job.run` is the main path of the design.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int32, UInt8
from PIL import Image

from core.config import GenerateConfig, Resolved
from core.errors import InputError, OutputError, WorldKVError
from core.fitting import place
from core.hardware import (
    NOTHING_HELD,
    Held,
    check_disk,
    check_free,
    device_info,
    limit_device,
    out_of_memory,
    pick_device,
    pick_dtype,
)
from core.interrupt import StopRequest, stop_on_signal
from core.memory.plan import MemoryPlan
from core.memory.positions import PositionMode
from core.memory.world_memory import WorldMemory
from core.models.registry import model_entry
from core.models.session import LoadedModel, OnLoad, Session
from core.models.weight_cache import WeightCache
from core.noise import seeded_noise
from core.outputs import RUN_FILES, RunFolder
from core.placement import Placement
from core.records import RecordMaker
from core.revisits import RevisitWatch
from core.rollout import rollout
from core.runlog import ChunkLog, hash_file, versions, write_run
from core.schemas.run import ChunkRecord, Failure, InputFile, RunSummary, Status, VideoFile
from core.script import load_script
from core.video.ffmpeg import ffmpeg_exe, ffmpeg_version
from core.video.reader import video_info
from core.video.writer import Mp4Writer, write_check
from core.viewlog import ViewLog, chunk_view

OnChunk = Callable[[ChunkRecord], None]


@dataclass(frozen=True)
class Job:
    """A rollout that has been checked and planned, but not started.

    Attributes:
        resolved: Settings and where they came from.
        session: Model and trajectory, without weights.
        plan: What the memory does at every chunk.
        positions: Where in time retrieved keys pretend to be.
        placement: Where memory lies, and what it is predicted to take.
        device: Where it will run.
        dtype: Of weights, keys and values.
        inputs: Hashes of the files that went in.
        notes: What the user should know before it starts.
    """

    resolved: Resolved
    session: Session
    plan: MemoryPlan
    positions: PositionMode
    placement: Placement
    device: torch.device
    dtype: torch.dtype
    inputs: Mapping[str, InputFile]
    notes: tuple[str, ...]

    @property
    def config(self) -> GenerateConfig:
        """The settings."""
        return self.resolved.config

    @property
    def num_chunks(self) -> int:
        """Chunks of the rollout."""
        return len(self.plan.steps)

    def run(
        self,
        on_chunk: OnChunk = lambda _: None,
        on_load: OnLoad = lambda *_: None,
        weights: WeightCache | None = None,
    ) -> tuple[RunSummary, Path]:
        """Generate the video.

        Args:
            on_chunk: Told of every finished chunk.
            on_load: Told while weights load.
            weights: Keeps what was loaded for the next rollout of this process; None for nobody.

        Returns:
            What run.json holds except the chunk records, and the run folder. Status "interrupted" if somebody
            asked to stop; the video of the finished chunks is valid then too.

        Raises:
            WorldKVError: Something went wrong; run.json then says so, too.
        """
        name = self.session.trajectory.name
        with RunFolder.create(self.config.out, name, overwrite=self.config.overwrite) as folder:
            write_check(folder.video)
            return _Run(self, folder, on_chunk, on_load, weights).execute(), folder.path


def prepare(resolved: Resolved, held: Held = NOTHING_HELD) -> Job:
    """Check settings, input and model files, and plan the rollout; no weights are loaded, nothing is written.

    Args:
        resolved: Settings.
        held: What this process keeps of an earlier rollout, which counts as free.

    Raises:
        InputError: Settings or input files are wrong.
        TrajectoryError: The trajectory is wrong.
        ModelFilesError: The model's files are missing or not what they should be.
        BudgetError: The rollout does not fit the memory budget.
        OutputError: There is no ffmpeg.
    """
    config = resolved.config
    entry = model_entry(config.model)
    script = load_script(config, entry)
    session = entry.open()(config, script)
    device = pick_device(config.device)
    dtype = pick_dtype(config.dtype, device)
    memory, plan, placement = place(resolved, session, device, dtype, held)
    check_disk(placement, config.out)
    check_free(placement, device, held)
    session.check_files()
    ffmpeg_version(ffmpeg_exe())
    inputs = {name: _checked_input(name, path, config.out) for name, path in session.inputs.items()}
    notes = script.notes + session.notes + memory.notes + placement.words
    return Job(resolved, session, plan, memory.positions, placement, device, dtype, inputs, notes)


def _checked_input(name: str, path: Path, out: Path | None) -> InputFile:
    """Hash of an input file, which must not be one that `--overwrite` removes."""
    if out is not None and path.resolve().parent == out.resolve() and path.name in RUN_FILES:
        raise InputError(
            f"the {name} is a file of the run that would be replaced",
            where=str(path),
            hint="choose another --out",
        )
    return hash_file(path)


class _Run:
    """One execution of a job in its folder."""

    def __init__(
        self,
        job: Job,
        folder: RunFolder,
        on_chunk: OnChunk,
        on_load: OnLoad,
        weights: WeightCache | None,
    ) -> None:
        self.job, self.folder, self.on_chunk, self.on_load = job, folder, on_chunk, on_load
        self.weights = weights
        self.scale = job.config.scale or job.session.default_scale
        self.watch = RevisitWatch(job.session.trajectory.c2w, job.session.given_frames)
        self.views = ViewLog(folder.views)
        self.summary = _summary(job)

    def execute(self) -> RunSummary:
        """Run, and leave run.json whatever happens."""
        with ChunkLog(self.folder.chunks) as log, self.views, stop_on_signal() as stop:
            write_run(self.folder.log, self.summary)
            try:
                summary = self._generate(log, stop)
            except torch.OutOfMemoryError as error:
                self._leave_failure(error, log)
                raise out_of_memory(self.job.placement, self.job.device) from error
            except BaseException as error:
                self._leave_failure(error, log)
                raise
            write_run(self.folder.log, summary, chunks=self.folder.chunks)
        return summary

    def _generate(self, log: ChunkLog, stop: StopRequest) -> RunSummary:
        """Generate the video, up to its end or to a request to stop."""
        job = self.job
        try:
            limit_device(job.config, job.device)
            if self.weights is not None:
                self.weights.make_room(job.placement.parts)
            model = job.session.load(
                job.device, job.dtype, job.placement.turns, self._on_load(stop), self.weights
            )
            width, height = (side * self.scale for side in job.session.frame_size)
            fps = job.session.trajectory.fps
            with (
                closing(self._memory()) as memory,
                Mp4Writer(self.folder.video, width, height, fps, overwrite=job.config.overwrite) as video,
            ):
                for written in self._written_chunks(model, memory, video, log):
                    self.on_chunk(written)
                    if stop:
                        break
        except KeyboardInterrupt:  # the second Ctrl-C: what is finished is in the video all the same
            stop.asked = True
        unfinished = log.totals.chunks < job.num_chunks
        return self._finished("interrupted" if stop and unfinished else "done", log)

    def _memory(self) -> WorldMemory:
        """Window and bank, empty."""
        job = self.job
        return WorldMemory(
            job.plan,
            positions=job.positions,
            trained_frames=job.session.trained_frames,
            device=job.device,
            dtype=job.dtype,
            folder=self.folder.path,
        )

    def _on_load(self, stop: StopRequest) -> OnLoad:
        """Tell of the loading, which takes minutes for a large model, and let it be stopped."""

        def told(what: str, done_bytes: int, total_bytes: int) -> None:
            if stop:
                raise KeyboardInterrupt
            self.on_load(what, done_bytes, total_bytes)

        return told

    def _written_chunks(
        self, model: LoadedModel, memory: WorldMemory, video: Mp4Writer, log: ChunkLog
    ) -> Iterator[ChunkRecord]:
        """Chunks that are in the video and in the log."""
        job = self.job
        maker = RecordMaker(job.plan, model.parameter_bytes + memory.device_bytes, job.device)
        for frames, record in self._chunks(model, memory, maker):
            began = time.perf_counter()
            for frame in frames:
                self.watch.push(frame)
            video.push(enlarge(frames, self.scale))
            yield log.append(maker.finish(record, (time.perf_counter() - began) * 1e3))

    def _chunks(
        self, model: LoadedModel, memory: WorldMemory, maker: RecordMaker
    ) -> Iterator[tuple[UInt8[np.ndarray, "frames height width 3"], ChunkRecord]]:
        """Decoded chunks and what is known of them before they are written."""
        job = self.job
        channels, rows, cols = model.latent_shape
        shape = (1, channels, job.plan.layout.chunk_frames, rows, cols)
        results = rollout(
            model.controls,
            job.plan,
            memory,
            levels=model.levels,
            noise=seeded_noise(job.config.seed, shape, job.device),
            given=model.given,
            commit=job.config.commit,
        )
        for result in results:
            began = time.perf_counter()
            frames = model.decoder.push(result.latents)[0]
            record = maker.start(result, len(frames), (time.perf_counter() - began) * 1e3)
            self._log_view(record, memory.kept_counts(result.step))
            yield frames, record

    def _log_view(self, record: ChunkRecord, kept_counts: Int32[np.ndarray, " tokens"]) -> None:
        """Where the camera is and what is kept, for reports."""
        session, end = self.job.session, record.first_frame + record.num_frames
        cameras = session.trajectory.c2w[record.first_frame : end]
        num_layers = self.job.plan.footprint.num_layers
        self.views.append(chunk_view(session.viewpoints, record.chunk, cameras, kept_counts, num_layers))

    def _finished(self, status: Status, log: ChunkLog) -> RunSummary:
        update: dict[str, object] = {
            "status": status,
            "totals": log.totals,
            "fidelity": self.watch.fidelity(),
        }
        if self.folder.video.exists():  # not if it was stopped before the first chunk
            info = asdict(video_info(self.folder.video))
            update["video"] = VideoFile.model_validate({**info, "path": self.folder.video.name})
        return self.summary.model_copy(update={**update, "finished_at": datetime.now(UTC)})

    def _leave_failure(self, error: BaseException, log: ChunkLog) -> None:
        """Say in run.json why there is no more; on a full disk the error itself matters more."""
        failure = Failure(problem=f"{type(error).__name__}: {error}")
        if isinstance(error, WorldKVError):
            failure = Failure(problem=error.problem, where=error.where, hint=error.hint)
        update = {"status": "failed", "failure": failure, "totals": log.totals}
        failed = self.summary.model_copy(update={**update, "finished_at": datetime.now(UTC)})
        with suppress(OutputError):
            write_run(self.folder.log, failed, chunks=self.folder.chunks)


def _summary(job: Job) -> RunSummary:
    """The run before its first chunk."""
    return RunSummary.model_validate(
        {
            "name": job.session.trajectory.name,
            "status": "running",
            "started_at": datetime.now(UTC),
            "seed": job.config.seed,
            "config": job.config.model_dump(mode="json"),
            "config_sources": dict(job.resolved.sources),
            "inputs": dict(job.inputs),
            "trajectory_sha256": job.session.trajectory.source_sha256,
            "versions": versions(),
            "device": device_info(job.device),
            "dtype": str(job.dtype).removeprefix("torch."),
            "plan": {
                **job.plan.summary(),
                "positions": str(job.positions),
                "commit": job.config.commit,
                **job.placement.summary(),
                **job.session.logged,
            },
        }
    )


def enlarge(
    frames: UInt8[np.ndarray, "frames height width 3"], scale: int
) -> UInt8[np.ndarray, "frames rows cols 3"]:
    """Frames `scale` times as large, for display; smooth, so that small pictures do not look like mosaics."""
    if scale == 1:
        return frames
    size = (frames.shape[2] * scale, frames.shape[1] * scale)
    return np.stack([np.asarray(Image.fromarray(f).resize(size, Image.Resampling.BICUBIC)) for f in frames])
