"""Every job planned before anything runs: what fits, what is missing, how much it is in all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from core.batch.loader import BatchJob
from core.batch.planning import plan_key
from core.batch.problems import Problem, Problems
from core.batch.settings import FILE_KEYS, in_manifest
from core.calibration import load_calibration
from core.config import Resolved
from core.errors import WorldKVError
from core.generate import Job, prepare
from core.hardware import device_info
from core.predicted_times import predict_times
from trajectories.errors import TrajectoryError

VIDEO_BYTES_PER_PIXEL = 0.1
"""Of H.264 at our quality, roughly: measured 0.04 on mini's rooms; pictures with more in them take more."""
LOG_BYTES_PER_CHUNK = 2500
"""Of run.json and chunks.jsonl together; measured 1,700 to 2,400 on mini."""


@dataclass(frozen=True)
class JobPlan:
    """What is known of a job before it runs.

    Attributes:
        num_chunks: Chunks of the rollout.
        num_frames: Video frames.
        size: Width and height of the video in pixels.
        device: Where it was planned for.
        device_bytes: Predicted peak on the device.
        host_bytes: Predicted peak in host memory.
        seconds: Predicted time; None where this machine has no calibration of the model.
        notes: What the user should know.
    """

    num_chunks: int
    num_frames: int
    size: tuple[int, int]
    device: str
    device_bytes: int
    host_bytes: int
    seconds: float | None
    notes: tuple[str, ...]

    @property
    def disk_bytes(self) -> int:
        """What the run folder will take, roughly."""
        video = VIDEO_BYTES_PER_PIXEL * self.size[0] * self.size[1] * self.num_frames
        return round(video) + LOG_BYTES_PER_CHUNK * self.num_chunks


@dataclass(frozen=True)
class CheckedJob:
    """A job with its plan, or with what is wrong with it."""

    job: BatchJob
    plan: JobPlan | None
    problem: Problem | None


@dataclass(frozen=True)
class BatchCheck:
    """The jobs of a batch, planned.

    Attributes:
        jobs: One entry a job.
        num_plans: Plans that were made for them.
    """

    jobs: tuple[CheckedJob, ...]
    num_plans: int

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything that is wrong; what many jobs share is one problem."""
        found = Problems()
        for checked in self.jobs:
            if checked.problem is not None:
                found.add(checked.problem)
        return tuple(found)

    @property
    def exit_code(self) -> int:
        """0, or that of the problem that must be mended first: input, then budget, then files."""
        return min((problem.exit_code for problem in self.problems), default=0)

    @property
    def num_frames(self) -> int:
        """Video frames of all jobs that can run."""
        return sum(checked.plan.num_frames for checked in self.jobs if checked.plan is not None)

    @property
    def seconds(self) -> float | None:
        """What they will take one after the other; None unless it is known of all."""
        found = [checked.plan.seconds for checked in self.jobs if checked.plan is not None]
        known = [each for each in found if each is not None]
        return sum(known) if known and len(known) == len(found) else None

    @property
    def disk_bytes(self) -> int:
        """What their run folders will take, roughly."""
        return sum(checked.plan.disk_bytes for checked in self.jobs if checked.plan is not None)


def check_jobs(
    jobs: Sequence[BatchJob],
    *,
    processes: int = 1,
    apart: bool = False,
    on_plan: Callable[[int, int], None] = lambda *_: None,
) -> BatchCheck:
    """Plan jobs. Those that differ only in the seed share a plan.

    Args:
        jobs: The jobs.
        processes: How many plan at the same time.
        apart: Whether a single one is another one than this.
        on_plan: Told how many plans are made, and how many there will be.
    """
    keys = [plan_key(job.resolved.config) for job in jobs]
    first = dict(zip(reversed(keys), reversed(jobs), strict=True))
    chosen = list(dict.fromkeys(keys))
    found: dict[str, JobPlan | Problem] = {}
    for key, result in zip(chosen, _planned([first[key] for key in chosen], processes, apart), strict=True):
        found[key] = result
        on_plan(len(found), len(chosen))
    return BatchCheck(
        tuple(_checked(job, found[key]) for job, key in zip(jobs, keys, strict=True)), len(chosen)
    )


def _planned(jobs: Sequence[BatchJob], processes: int, apart: bool) -> Iterator[JobPlan | Problem]:
    settings = [job.resolved for job in jobs]
    if not apart and (processes <= 1 or len(jobs) < 2):
        yield from map(plan_of, settings)
        return
    with ProcessPoolExecutor(min(processes, len(jobs)), mp_context=get_context("spawn")) as pool:
        yield from pool.map(plan_of, settings)


def plan_of(resolved: Resolved) -> JobPlan | Problem:
    """Plan one job; errors that a user can cause are returned, not raised."""
    try:
        job = prepare(resolved)
    except (WorldKVError, TrajectoryError) as error:
        return Problem.of(error)
    width, height = job.session.frame_size
    scale = job.config.scale or job.session.default_scale
    predicted = job.placement.summary()
    return JobPlan(
        num_chunks=job.num_chunks,
        num_frames=job.session.trajectory.num_frames,
        size=(width * scale, height * scale),
        device=str(job.device),
        device_bytes=int(str(predicted["predicted_device_bytes"])),
        host_bytes=int(str(predicted["predicted_host_bytes"])),
        seconds=_seconds_of(job),
        notes=job.notes,
    )


def _seconds_of(job: Job) -> float | None:
    """How long a job will take by the profile of this machine, if one was made."""
    dtype, model = str(job.dtype), device_info(job.device).model
    calibration = load_calibration(job.config.model, model, dtype)
    if calibration is None:
        return None
    session = job.session
    told = predict_times(
        calibration,
        job.plan,
        frame_size=session.frame_size,
        passes=session.passes,
        clean_pass=job.config.commit == "clean",
    )
    return told.total_s


def _checked(job: BatchJob, result: JobPlan | Problem) -> CheckedJob:
    if isinstance(result, JobPlan):
        return CheckedJob(job, result, None)
    where = _place(job, result.where)
    problem = Problem(result.problem, where, result.hint, result.exit_code, (job.name,))
    return CheckedJob(job, None, problem)


def _place(job: BatchJob, where: str) -> str:
    """A place of an error in the manifest: where the flag was set, or where the file was named."""
    for key in FILE_KEYS:
        named = getattr(job.resolved.config, key)
        if named is not None and str(named) == where and key in job.resolved.sources:
            return f"{job.resolved.sources[key]}: {where}"
    return in_manifest(where, job.resolved.sources, job.where) or job.where
