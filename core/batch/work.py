"""One job, from its claim to its end: the same on a laptop, in a worker process and on a cluster's node."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from core.batch.events import Advanced, Event, Loading, Started
from core.batch.heartbeat import Heartbeat
from core.batch.history import HEARTBEAT_S, Attempt, End, is_cancelled, write_end
from core.batch.index import Index
from core.batch.loader import Batch, BatchJob
from core.batch.planning import Planner
from core.batch.process import ProcessId
from core.batch.resume import make_room, where_it_goes_on
from core.batch.state import Observer
from core.errors import OutputError, WorldKVError
from core.models.weight_cache import WeightCache
from core.schemas.run import ChunkRecord
from trajectories.errors import TrajectoryError

logger = logging.getLogger(__name__)

_TELL_EVERY_S = 0.2
_LOOK_EVERY_S = 2.0
_FULL = (errno.ENOSPC, errno.EDQUOT)

Tell = Callable[[Event], None]
Stop = Callable[[], bool]


def leave_at_once() -> None:
    """End this process without another word to the file system: somebody else has its job."""
    os._exit(75)  # EX_TEMPFAIL


@dataclass
class Bench:
    """What a process keeps from one job to the next.

    Attributes:
        device: Where jobs run that leave it open; None: as `auto` finds it.
        planner: Plans that are shared.
        weights: Weights that stay loaded.
        name: What the process is called.
        heartbeat_s: Seconds between two signs of life.
        on_lost: What to do if somebody took over the job.
    """

    device: str | None = None
    planner: Planner = field(default_factory=Planner)
    weights: WeightCache = field(default_factory=WeightCache)
    name: str = ""
    heartbeat_s: float = HEARTBEAT_S
    on_lost: Callable[[], None] = leave_at_once


def run_job(
    batch: Batch,
    job: BatchJob,
    bench: Bench,
    *,
    tell: Tell = lambda _: None,
    stop: Stop = lambda: False,
) -> End | None:
    """Do one job of a batch, if it is still to be done and nobody else does it.

    Args:
        batch: The batch.
        job: The job.
        bench: What this process keeps between jobs.
        tell: Told what happens.
        stop: Asked after every chunk, and while weights load, whether to stop.

    Returns:
        How it ended; None if there was nothing to do here.

    Raises:
        OutputError: The state of the batch cannot be written; a claim then dies with the process.
    """
    status = Observer(batch, Index.of(batch, rebuild=True)).look_at(job)
    if status.state != "waiting":
        return None
    attempt = status.history.claim(status.identity)
    if attempt is None:
        return None
    with Heartbeat(attempt, bench.on_lost, every_s=bench.heartbeat_s):
        end = _Run(batch, job, bench, attempt, tell, stop).end()
    write_end(attempt, end)
    return end


class _Run:
    """One attempt."""

    def __init__(
        self, batch: Batch, job: BatchJob, bench: Bench, attempt: Attempt, tell: Tell, stop: Stop
    ) -> None:
        self._batch, self._job, self._bench = batch, job, bench
        self._attempt, self._tell, self._stop = attempt, tell, stop
        self._told_at = self._looked_at = 0.0
        self._chunks = self._frames = 0

    def end(self) -> End:
        """Run, and say how it ended whatever happens."""
        try:
            return self._run()
        except KeyboardInterrupt:
            return self._interrupted()
        except (WorldKVError, TrajectoryError) as error:
            logger.error("%s\n  at: %s\nhint: %s", error.problem, error.where, error.hint)
            return End.now("unwritable" if _disk_is_full(error) else "failed", error)
        except Exception as error:  # a bug must not stop the other jobs; it is told, with its traceback
            logger.exception("worldkv has a bug")
            return End.now("failed", error)

    def _run(self) -> End:
        job, batch = self._job, self._batch
        first_chunk = where_it_goes_on(job)
        if first_chunk == 0:
            try:
                aside = make_room(batch, job)
            except OSError as error:
                problem = f"the run folder cannot be readied: {error.strerror}"
                raise OutputError(problem, where=str(job.folder)) from error
            if aside is not None:
                logger.warning("the run log of %s was damaged: the folder is now %s", job.name, aside)
        prepared = self._bench.planner.prepare(job.in_folder(self._bench.device), self._bench.weights.held)
        for note in prepared.notes:
            logger.warning("%s", note)
        worker = self._bench.name or str(ProcessId.mine())
        self._tell(Started(job.name, worker, self._attempt.number, first_chunk, prepared.num_chunks))
        summary, _ = prepared.run(self._on_chunk, self._on_load, self._bench.weights)
        if summary.status == "done":
            return End.now("done")
        return self._interrupted()

    def _interrupted(self) -> End:
        cancelled = is_cancelled(self._batch.state / self._job.name)
        return End.now("cancelled" if cancelled else "interrupted")

    def _on_chunk(self, record: ChunkRecord) -> None:
        self._chunks += 1
        self._frames += record.num_frames
        now = time.monotonic()
        if now - self._told_at >= _TELL_EVERY_S:
            self._tell(Advanced(self._job.name, self._chunks, self._frames))
            self._told_at = now
        self._stop_if_asked()

    def _on_load(self, what: str, done_bytes: int, total_bytes: int) -> None:
        now = time.monotonic()
        if now - self._told_at >= _TELL_EVERY_S:
            self._tell(Loading(self._job.name, what, done_bytes, total_bytes))
            self._told_at = now
        self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        now, asked = time.monotonic(), self._stop()
        if not asked and now - self._looked_at >= _LOOK_EVERY_S:
            self._looked_at = now
            asked = is_cancelled(self._batch.state / self._job.name)
        if asked:
            raise KeyboardInterrupt


def _disk_is_full(error: WorldKVError | TrajectoryError) -> bool:
    """Whether there is no room rather than something wrong with the job."""
    if not isinstance(error, OutputError):
        return False
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno in _FULL:
        return True
    return any(os.strerror(code) in error.problem for code in _FULL)  # ffmpeg's words
