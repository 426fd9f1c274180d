"""The main job: a scripted trajectory in, a video and its log out.

`prepare` checks everything that can be checked before weights load; `Job.run` is the main path of the design.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

import trajectories
from core.config import GenerateConfig, Resolved
from core.errors import InputError, WorldKVError
from core.hardware import device_info, pick_device, pick_dtype
from core.interrupt import StopRequest, stop_on_signal
from core.memory.layout import MemoryMode, WindowLayout
from core.memory.plan import MemoryPlan
from core.memory.planner import plan_memory
from core.memory.positions import PositionMode
from core.memory.prune_policy import Pruning
from core.memory.strategies import strategy
from core.memory.strategies.base import Strategy
from core.memory.world_memory import WorldMemory
from core.models.registry import ModelEntry, model_entry
from core.models.session import LoadedModel, Session
from core.noise import seeded_noise
from core.outputs import RunFolder
from core.records import RecordMaker
from core.revisits import RevisitWatch
from core.rollout import rollout
from core.runlog import ChunkLog, hash_file, versions, write_run
from core.schemas.run import ChunkRecord, Failure, RunSummary, VideoFile
from core.video.writer import Mp4Writer, write_check

logger = logging.getLogger(__name__)

OnChunk = Callable[[ChunkRecord], None]


@dataclass(frozen=True)
class Job:
    """A rollout that has been checked and planned, but not started.

    Attributes:
        resolved: Settings and where they came from.
        session: Model and trajectory, without weights.
        plan: What the memory does at every chunk.
        device: Where it will run.
        dtype: Of weights, keys and values.
        notes: What the user should know before it starts.
    """

    resolved: Resolved
    session: Session
    plan: MemoryPlan
    device: torch.device
    dtype: torch.dtype
    notes: tuple[str, ...]

    @property
    def config(self) -> GenerateConfig:
        """The settings."""
        return self.resolved.config

    @property
    def num_chunks(self) -> int:
        """Chunks of the rollout."""
        return len(self.plan.steps)

    def run(self, on_chunk: OnChunk = lambda _: None) -> tuple[RunSummary, Path]:
        """Generate the video.

        Returns:
            What run.json holds except the chunk records, and the run folder. Status "interrupted" if somebody
            asked to stop; the video of the finished chunks is valid then too.

        Raises:
            WorldKVError: Something went wrong; run.json then says so, too.
        """
        with ExitStack() as stack:
            folder = stack.enter_context(
                RunFolder.create(self.config.out, self.session.trajectory.name, overwrite=self.config.overwrite)
            )
            write_check(folder.video)
            return _Run(self, folder, on_chunk).execute(), folder.path


def prepare(resolved: Resolved) -> Job:
    """Check the settings and plan the rollout; no weights are touched.

    Raises:
        InputError: Settings or input files are wrong.
        TrajectoryError: The trajectory is wrong.
    """
    config = resolved.config
    entry = model_entry(config.model)
    if config.traj is None:
        raise InputError("no trajectory given", where="--traj", hint="try --traj loop; see: worldkv traj list")
    script, change = _whole_chunks(config, entry)
    notes = [f"{change:+d} video frames: {_fit_words(config, change)}"] if change else []
    session = entry.open()(config, script)
    device = pick_device(config.device)
    dtype = pick_dtype(config.dtype, device)
    plan = _plan(config, session, dtype)
    return Job(resolved, session, plan, device, dtype, tuple(notes))


def _whole_chunks(config: GenerateConfig, entry: ModelEntry) -> tuple[trajectories.Trajectory, int]:
    script = trajectories.load(cast("str", config.traj))
    return script.fit_chunks(
        first_frames=entry.first_chunk_frames, later_frames=entry.later_chunk_frames, how=config.fit
    )


def _fit_words(config: GenerateConfig, change: int) -> str:
    if change < 0:
        return f"the last {-change} do not fill a chunk and are cut (--fit pad holds the last pose instead)"
    return f"the last pose is held for {change} frames to fill a chunk"


def _plan(config: GenerateConfig, session: Session, dtype: torch.dtype) -> MemoryPlan:
    footprint = session.footprint(dtype)
    layout, chosen, pruning = _memory_settings(config, session)
    return plan_memory(
        session.viewpoints,
        footprint=footprint,
        layout=layout,
        strategy=chosen,
        pruning=pruning,
        keep_all=config.keep_all,
        reinsert_all=PositionMode(config.positions).moves,
    )


def _memory_settings(
    config: GenerateConfig, session: Session
) -> tuple[WindowLayout, Strategy | None, Pruning]:
    """Window, strategy and pruning from the settings; None means the model's default."""
    mode, defaults, views = MemoryMode(config.memory), session.defaults, session.viewpoints
    has_sink = mode in (MemoryMode.SINK, MemoryMode.WORLDKV)
    if config.sink and not has_sink:
        raise InputError(f"memory mode {mode} has no sink", where="--sink", hint="use --memory sink or worldkv")
    sink = (defaults.sink_frames if config.sink is None else config.sink) if has_sink else 0
    recent = defaults.recent_frames if config.recent is None else config.recent
    pruning = Pruning()
    if config.keep_ratio < 1.0:
        pruning = Pruning(rule=config.prune, keep_ratio=config.keep_ratio, pooled=config.pooled)
    chosen, tokens = None, 0
    if mode is MemoryMode.WORLDKV:
        tokens, chosen = _retrieval(config, session, pruning)
    layout = WindowLayout(
        mode=mode,
        num_frames=views.num_frames,
        chunk_frames=views.chunk_frames,
        tokens_per_frame=views.tokens_per_frame,
        sink_frames=sink,
        recent_frames=recent,
        retrieve_tokens=tokens,
    )
    return layout, chosen, pruning


def _retrieval(config: GenerateConfig, session: Session, pruning: Pruning) -> tuple[int, Strategy]:
    """Room for retrieved tokens, and who fills it."""
    views = session.viewpoints
    chunks = config.retrieve or session.defaults.retrieve_chunks[config.strategy]
    stored = pruning.kept_per_chunk(views.tokens_per_frame, views.chunk_frames)
    if config.strategy == "rays":
        tokens = config.retrieve_tokens or round(chunks * views.tokens_per_chunk)
        return tokens, strategy("rays")(max_distance=config.gate)
    whole = config.retrieve_tokens // stored if config.retrieve_tokens else round(chunks)
    if whole < 1:
        raise InputError(
            f"{config.strategy} retrieves whole chunks of {stored} tokens, and not one fits",
            where="--retrieve-tokens",
            hint=f"give at least {stored}, or use --strategy rays",
        )
    if config.strategy == "coverage" and config.gate is not None:
        return whole * stored, strategy("coverage")(num_chunks=whole, min_gain=config.gate)
    return whole * stored, strategy(config.strategy)(num_chunks=whole)


class _Run:
    """One execution of a job in its folder."""

    def __init__(self, job: Job, folder: RunFolder, on_chunk: OnChunk) -> None:
        self.job, self.folder, self.on_chunk = job, folder, on_chunk
        self.scale = job.config.scale or job.session.default_scale
        self.started = datetime.now(UTC)
        self.watch = RevisitWatch(job.session.trajectory.c2w)

    def execute(self) -> RunSummary:
        """Run, and leave run.json whatever happens."""
        job = self.job
        write_run(self.folder.log, self._summary("running"))
        with ExitStack() as stack:
            log = stack.enter_context(ChunkLog(self.folder.chunks))
            width, height = (side * self.scale for side in job.session.frame_size)
            video = Mp4Writer(
                self.folder.video, width, height, job.session.trajectory.fps, overwrite=job.config.overwrite
            )
            try:
                stop = stack.enter_context(stop_on_signal())
                with video:
                    stopped = self._generate(video, log, stop)
                summary = self._finished("interrupted" if stopped else "done", video, log)
            except WorldKVError as error:
                failure = Failure(problem=error.problem, where=error.where, hint=error.hint)
                failed = self._summary("failed").model_copy(update={"failure": failure, "totals": log.totals})
                write_run(self.folder.log, failed, chunks=self.folder.chunks)
                raise
            write_run(self.folder.log, summary, chunks=self.folder.chunks)
        return summary

    def _generate(self, video: Mp4Writer, log: ChunkLog, stop: StopRequest) -> bool:
        """Generate chunk by chunk; returns whether a request to stop cut it short."""
        job = self.job
        model = job.session.load(job.device, job.dtype)
        memory = WorldMemory(
            job.plan,
            positions=PositionMode(job.config.positions),
            trained_frames=job.session.trained_frames,
            device=job.device,
            dtype=job.dtype,
        )
        maker = RecordMaker(job.plan, model.parameter_bytes + memory.nbytes, job.device)
        for frames, record in self._chunks(model, memory, maker):
            began = time.perf_counter()
            for frame in frames:
                self.watch.push(frame)
            video.push(enlarge(frames, self.scale))
            written = log.append(maker.finish(record, (time.perf_counter() - began) * 1e3))
            self.on_chunk(written)
            if stop and written.chunk + 1 < job.num_chunks:
                return True
        return False

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
        )
        for result in results:
            began = time.perf_counter()
            frames = model.decoder.push(result.latents)[0]
            yield frames, maker.start(result, len(frames), (time.perf_counter() - began) * 1e3)

    def _finished(self, status: str, video: Mp4Writer, log: ChunkLog) -> RunSummary:
        info = video.close()
        file = VideoFile(
            path=info.path.name,
            width=info.width,
            height=info.height,
            fps=info.fps,
            num_frames=info.num_frames,
            codec=info.codec,
            pix_fmt=info.pix_fmt,
            size_bytes=info.size_bytes,
        )
        update = {"video": file, "totals": log.totals, "fidelity": self.watch.fidelity()}
        return self._summary(status).model_copy(update={**update, "finished_at": datetime.now(UTC)})

    def _summary(self, status: str) -> RunSummary:
        job = self.job
        return RunSummary.model_validate(
            {
                "name": job.session.trajectory.name,
                "status": status,
                "started_at": self.started,
                "seed": job.config.seed,
                "config": job.config.model_dump(mode="json"),
                "config_sources": dict(job.resolved.sources),
                "inputs": {name: hash_file(path) for name, path in job.session.inputs.items()},
                "trajectory_sha256": job.session.trajectory.source_sha256,
                "versions": versions(),
                "device": device_info(job.device),
                "dtype": str(job.dtype).removeprefix("torch."),
                "plan": dict(job.plan.summary()),
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

