"""Running a batch on this machine until nothing is left to do, beside others that do the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from core.batch.events import Ended, Event, WorkerLost
from core.batch.history import End
from core.batch.loader import Batch, BatchJob
from core.batch.local import LocalExecutor
from core.batch.state import JobStatus, Observer

_TURN_S = 0.25
LOOK_EVERY_S = 3.0
"""How often is looked at jobs that somebody else has."""


class Drive:
    """Keeps an executor busy with what is still to be done.

    Args:
        batch: The batch.
        executor: Runs the jobs.
        observer: Looks at them.
        on_event: Told what the workers say.
        on_status: Told of jobs whose state has changed.
    """

    def __init__(
        self,
        batch: Batch,
        executor: LocalExecutor,
        observer: Observer,
        *,
        on_event: Callable[[Event], None] = lambda _: None,
        on_status: Callable[[JobStatus], None] = lambda _: None,
    ) -> None:
        self._batch, self._executor, self._observer = batch, executor, observer
        self._on_event, self._on_status = on_event, on_status
        self._jobs = {job.name: job for job in batch.jobs}
        self._statuses: dict[str, JobStatus] = {}
        self._given: set[str] = set()
        self._unwritable: End | None = None
        self._stopping = False

    @property
    def statuses(self) -> list[JobStatus]:
        """All jobs as they were seen last."""
        return [self._statuses[job.name] for job in self._batch.jobs]

    @property
    def unwritable(self) -> End | None:
        """Why the batch could not go on; None if the disk took everything."""
        return self._unwritable

    def run(self, *, stop: Callable[[], bool] = lambda: False) -> list[JobStatus]:
        """Work until every job is done, has failed, was cancelled, or somebody asks to stop.

        Jobs that other processes are at are waited for, and taken over if those die.

        Returns:
            All jobs as they are in the end.

        Raises:
            OutputError: The state of the batch cannot be written.
            WorldKVError: Workers die before they begin anything.
        """
        self._look_at(self._batch.jobs)
        looked_at = time.monotonic()
        while not self._is_over(stop()):
            for event in self._executor.events(_TURN_S):
                self._take(event)
            if time.monotonic() - looked_at >= LOOK_EVERY_S:
                self._look_at([s.job for s in self._statuses.values() if self._is_elsewhere(s)])
                looked_at = time.monotonic()
        self._stopping = True  # what still waits now is for another time
        self._look_at(self._batch.jobs)
        return self.statuses

    def _is_over(self, asked: bool) -> bool:
        if asked or self._unwritable is not None:
            self._stopping = True
            self._executor.stop()
        if self._stopping:
            return self._executor.is_idle
        elsewhere = any(self._is_elsewhere(status) for status in self._statuses.values())
        return self._executor.is_idle and not elsewhere

    def _is_elsewhere(self, status: JobStatus) -> bool:
        """Whether it is still to be settled, and not by us."""
        return status.state in ("running", "waiting") and status.job.name not in self._given

    def _take(self, event: Event) -> None:
        self._on_event(event)
        if isinstance(event, Ended | WorkerLost):
            self._given.discard(event.job)
            if isinstance(event, Ended) and event.end is not None and event.end.outcome == "unwritable":
                self._unwritable = event.end
            self._look_at([self._jobs[event.job]])

    def _look_at(self, jobs: Sequence[BatchJob]) -> None:
        """See how jobs are, and hand in those that wait."""
        waiting = []
        for status in self._observer.look(jobs) if jobs else ():
            before = self._statuses.get(status.job.name)
            self._statuses[status.job.name] = status
            if before is None or before.state != status.state:
                self._on_status(status)
            if status.state == "waiting" and status.job.name not in self._given:
                waiting.append(status.job)
        if waiting and not self._stopping:
            waiting.sort(key=_weights_of)
            self._given.update(job.name for job in waiting)
            self._executor.submit(self._batch, waiting)


def _weights_of(job: BatchJob) -> tuple[str, ...]:
    """Jobs that follow each other should load the same."""
    config = job.resolved.config
    chosen = (config.model, config.checkpoint, config.variant, config.weights, config.dtype)
    return tuple(str(each) for each in chosen)
