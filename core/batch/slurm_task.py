"""What runs on a node of the cluster: one job of a batch, and its way back into the queue.

SLURM tells a job in two ways that its time is over. SIGUSR2 comes ahead of the time limit, and of a
preemption where the site says so: the rollout stops after its chunk, the claim is given up, and only then
submitit's checkpoint hook puts the job back into the queue, so that no two processes ever write one folder.
SIGTERM comes with a preemption, `scontrol requeue` or `scancel`: the rollout stops just so, and whether the
job runs again is SLURM's decision.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from core.batch.results import num_chunks_made
from core.batch.resume import where_it_goes_on
from core.batch.slurm_queue import time_left_s
from core.errors import WorldKVError

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

    from core.batch.history import End
    from core.batch.loader import Batch, BatchJob
    from core.batch.state import JobStatus
    from core.batch.work import Bench

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 3.0
_SIGNALS = (signal.SIGUSR2, signal.SIGTERM)
_ROUGHLY_S = 90
"""SLURM looks at time limits every half minute, and may tell a minute early."""


@dataclass(frozen=True)
class SlurmTask:
    """A job as it is handed in; it is read from the manifest when it starts.

    Attributes:
        manifest: The manifest, absolute.
        job: Name of the job.
        warn_s: Seconds before the time limit at which SLURM tells.
    """

    manifest: Path
    job: str
    warn_s: int

    def __call__(self) -> str:
        """Run the job, and say how it ended.

        Raises:
            WorldKVError: It failed, so that SLURM says FAILED, too.
        """
        import torch

        from core.batch.loader import load_batch
        from core.batch.work import Bench
        from core.batch.worker import job_log

        cpus = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE")
        if cpus:
            torch.set_num_threads(int(cpus))
        batch = load_batch(self.manifest).only([self.job])
        name = f"SLURM {slurm_id()} on {socket.gethostname()}"
        with job_log(batch.log_of(self.job), name), told_by_slurm() as told:
            end, status = _Turn(batch, batch.jobs[0], Bench(name=name), told, self.warn_s).run()
        return self._leave(end, status, told)

    def checkpoint(self) -> DelayedSubmission:
        """Where the job goes on in the queue: at the same place. Its folder says how far it is."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _leave(self, end: End | None, status: JobStatus, told: _Told) -> str:
        failed_once = end is not None and end.outcome == "failed" and status.state == "waiting"
        not_begun = end is None and status.state == "running"  # it waited for a lost node's claim
        cut_short = told.warned and (status.state == "waiting" or not_begun)
        if (failed_once or cut_short) and not told.terminated:
            logger.warning("%s goes back into the queue", self.job)
            signal.raise_signal(signal.SIGUSR2)  # submitit's: checkpoint, scontrol requeue, exit
        if end is not None and end.outcome == "unwritable":
            raise WorldKVError(end.problem, where=end.where, hint=end.hint)
        if status.state == "failed" and status.failure is not None:
            raise WorldKVError(status.failure.problem, where=status.failure.where, hint=status.failure.hint)
        return end.outcome if end is not None else status.state


class _Told:
    """What SLURM has told this process."""

    def __init__(self) -> None:
        self.warned = self.terminated = False

    def hear(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - what a handler is called with
        """Take a signal."""
        self.warned |= number == signal.SIGUSR2
        self.terminated |= number == signal.SIGTERM

    def __bool__(self) -> bool:
        return self.warned or self.terminated


@contextmanager
def told_by_slurm() -> Iterator[_Told]:
    """Listen to SLURM in place of submitit, which would leave in the middle of a chunk.

    SLURM signals every process of a job. What is started meanwhile, above all ffmpeg, must not die of it, and
    a blocked signal is one that children do not get either: so the main thread blocks both, and a thread that
    does nothing else receives them for it.
    """
    told, over = _Told(), threading.Event()
    before = {number: signal.signal(number, told.hear) for number in _SIGNALS}
    threading.Thread(target=over.wait, name="signals", daemon=True).start()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield told
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        over.set()
        for number, handler in before.items():
            signal.signal(number, handler)


class _Turn:
    """One start of a job, from its claim to its end."""

    def __init__(self, batch: Batch, job: BatchJob, bench: Bench, told: _Told, warn_s: int) -> None:
        self._batch, self._job, self._bench, self._told, self._warn_s = batch, job, bench, told, warn_s

    def run(self) -> tuple[End | None, JobStatus]:
        """How it ended, and what has become of the job."""
        from core.batch.work import run_job

        self._wait_for_the_dead()
        end = None
        if not self._told:
            end = run_job(self._batch, self._job, self._bench, stop=self._stop)
        if end is not None and end.outcome == "interrupted" and not self._told.warned:
            self._told.terminated = True  # the rollout listens to SIGTERM itself
        return end, self._look()

    def _look(self) -> JobStatus:
        from core.batch.index import Index
        from core.batch.state import Observer

        return Observer(self._batch, Index.of(self._batch, rebuild=True)).look_at(self._job)

    def _stop(self) -> bool:
        """Whether to stop.

        Raises:
            WorldKVError: The time limit cuts a job that would start from the beginning again: it has failed,
                and is tried again as often as a job that fails.
        """
        if not self._told.warned or where_it_goes_on(self._job) > 0:
            return bool(self._told)
        left_s = time_left_s(slurm_id())
        if left_s is None or left_s > self._warn_s + _ROUGHLY_S:
            return True
        chunks = num_chunks_made(self._job.folder)
        raise WorldKVError(
            f"SLURM's time limit cut it off after {chunks} chunk{'s' * (chunks != 1)}",
            where=f"SLURM {slurm_id()}",
            hint=f"give it longer: worldkv batch retry {self._batch.path} --time 12:00:00",
        )

    def _wait_for_the_dead(self) -> None:
        """Wait while the job is somebody's whose silence may be death.

        A node that failed leaves a claim that looks alive until it is stale. Who lives beats meanwhile.
        """
        first = None
        while not self._told:
            status = self._look()
            newest = status.history.newest
            if status.state != "running" or newest is None or newest.process.is_near:
                return
            first = first or newest
            if (newest.number, newest.beat) != (first.number, first.beat):
                return
            time.sleep(_LOOK_EVERY_S)


def slurm_id() -> str:
    """Id of the job that this process runs in, as squeue shows it."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")
