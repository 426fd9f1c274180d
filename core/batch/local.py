"""Jobs on this machine: a few worker processes, each with its device and its share of the CPU."""

from __future__ import annotations

import logging
import multiprocessing
import signal
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType

from core.batch.events import Ended, Event, Started, WorkerLost
from core.batch.executor import Phase
from core.batch.loader import Batch, BatchJob
from core.batch.worker import WorkerSetup, work
from core.errors import WorldKVError

logger = logging.getLogger(__name__)

_MOST_STILLBORN = 8
"""Workers that may die in a row before they begin a job: then it is not the jobs' fault."""
_PATIENCE_S = 30.0
"""How long a worker that was asked to end may take; it finishes a chunk first."""


@dataclass
class _Worker:
    """A process, and what it is at."""

    slot: int
    process: BaseProcess
    pipe: Connection
    job: BatchJob | None = None
    asked: bool = False


class LocalExecutor:
    """Runs jobs in worker processes of this machine; see `core.batch.executor.Executor`.

    A worker is started when there is a job for it, keeps what it has loaded for the next one, and ends when
    there is none. The id of a submission is the name of its job.

    Args:
        devices: One device a worker; None: as `auto` finds it.
        threads: Threads of the CPU for each.
    """

    def __init__(self, devices: Sequence[str | None], *, threads: int) -> None:
        self._devices, self._threads = tuple(devices), threads
        self._batch: Batch | None = None
        self._queue: deque[BatchJob] = deque()
        self._workers: list[_Worker] = []
        self._context = multiprocessing.get_context("spawn")
        self._stillborn = 0
        self._stopping = False

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(at_once=error is not None)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued or running."""
        return not self._queue and not any(worker.job for worker in self._workers)

    def submit(self, batch: Batch, jobs: Sequence[BatchJob]) -> Mapping[str, str]:
        """Queue jobs."""
        self._batch = batch
        self._queue.extend(jobs)
        return {job.name: job.name for job in jobs}

    def status(self, ids: Sequence[str]) -> Mapping[str, Phase]:
        """Where jobs are."""
        phases: dict[str, Phase] = dict.fromkeys(ids, "ended")
        phases.update({job.name: "queued" for job in self._queue if job.name in phases})
        running = {worker.job.name for worker in self._workers if worker.job is not None}
        phases.update({name: "running" for name in running if name in phases})
        return phases

    def cancel(self, ids: Sequence[str]) -> None:
        """Take jobs back."""
        self._queue = deque(job for job in self._queue if job.name not in ids)
        for worker in self._workers:
            if worker.job is not None and worker.job.name in ids:
                self._ask_to_end(worker)

    def stop(self) -> None:
        """Begin nothing more, and let every job end after its chunk."""
        self._stopping = True
        self._queue.clear()
        for worker in self._workers:
            self._ask_to_end(worker)

    def events(self, timeout_s: float) -> Iterator[Event]:
        """What has happened, after at most `timeout_s`. Also hands out queued jobs.

        Raises:
            WorldKVError: Workers die before they begin anything.
        """
        self._hand_out()
        ready = wait([w.pipe for w in self._workers] + [w.process.sentinel for w in self._workers], timeout_s)
        for worker in list(self._workers):
            if worker.pipe in ready or worker.process.sentinel in ready:
                yield from self._hear(worker)
        self._hand_out()

    def close(self, *, at_once: bool = False) -> None:
        """End all workers: after their chunk, or at once."""
        self._queue.clear()
        for worker in self._workers:
            if at_once:
                worker.process.kill()
            else:
                self._ask_to_end(worker)
        for worker in self._workers:
            worker.process.join(_PATIENCE_S)
            if worker.process.is_alive():
                logger.warning("worker %d does not end and is killed", worker.slot)
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()
        self._workers.clear()

    def _hand_out(self) -> None:
        """Give every worker without a job the next one; start those that are missing, end those too many."""
        for worker in self._workers:
            if worker.job is None and not worker.asked:
                self._give(worker) if self._queue else self._ask_to_end(worker)
        free = set(range(len(self._devices))) - {worker.slot for worker in self._workers}
        for slot in sorted(free)[: len(self._queue)]:
            self._workers.append(self._start(slot))
            self._give(self._workers[-1])

    def _give(self, worker: _Worker) -> None:
        worker.job = self._queue.popleft()
        try:
            worker.pipe.send(worker.job)
        except OSError:  # it has just died: hearing of that puts the job back
            logger.debug("worker %d is gone", worker.slot)

    def _start(self, slot: int) -> _Worker:
        if self._batch is None:
            raise ValueError("nothing was submitted")
        ours, theirs = self._context.Pipe()
        setup = WorkerSetup(self._batch, f"worker {slot + 1}", self._devices[slot], self._threads)
        process = self._context.Process(target=work, args=(theirs, setup), name=setup.name, daemon=True)
        process.start()
        theirs.close()
        return _Worker(slot, process, ours)

    def _ask_to_end(self, worker: _Worker) -> None:
        if not worker.asked:
            worker.asked = True
            try:
                worker.pipe.send(None)
            except OSError:
                logger.debug("worker %d is gone", worker.slot)

    def _hear(self, worker: _Worker) -> Iterator[Event]:
        """What a worker has said, and its death."""
        try:
            while worker.pipe.poll():
                event: Event = worker.pipe.recv()
                if isinstance(event, Started):
                    self._stillborn = 0
                if isinstance(event, Ended):
                    self._stillborn, worker.job = 0, None
                yield event
        except (EOFError, OSError):
            worker.process.join(_PATIENCE_S)  # the pipe closes a moment before the process is gone
        if worker.process.is_alive():
            return
        worker.process.join()
        worker.pipe.close()
        self._workers.remove(worker)
        if worker.job is not None:
            self._stillborn += 1
            yield WorkerLost(worker.job.name, _death(worker.process.exitcode))
        if self._stillborn > _MOST_STILLBORN:
            raise WorldKVError(
                f"{self._stillborn} workers in a row died before they began a job: "
                f"{_death(worker.process.exitcode)}",
                where=worker.process.name,
                hint="does `worldkv generate` work here? see: worldkv doctor",
            )


def _death(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        try:
            return f"killed by {signal.Signals(-exit_code).name}"
        except ValueError:
            return f"killed by signal {-exit_code}"
    return f"exit code {exit_code}"
