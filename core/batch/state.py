"""What has become of every job, from its run folder and its attempts alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from core.batch.exclusive import folder_time
from core.batch.history import STALE_S, Attempt, End, History, read_history
from core.batch.identity import identity_of_config, identity_of_run
from core.batch.index import Index
from core.batch.loader import Batch, BatchJob
from core.errors import InputError, WorldKVError
from core.schemas.run import RunSummary
from trajectories.errors import TrajectoryError

State = Literal["waiting", "running", "done", "failed", "cancelled"]
STATES: tuple[State, ...] = ("waiting", "running", "done", "failed", "cancelled")


@dataclass(frozen=True)
class JobStatus:
    """A job and what has become of it.

    Attributes:
        job: The job.
        state: In a word; a waiting job may have been tried before.
        identity: Of its settings.
        history: Its attempts.
        summary: Its run log; None if it has none that can be read.
        note: What is worth knowing about it, for people.
        failure: Why it failed the last time; None if it did not.
    """

    job: BatchJob
    state: State
    identity: str
    history: History
    summary: RunSummary | None
    note: str = ""
    failure: End | None = None

    @property
    def num_attempts(self) -> int:
        """How often it was started."""
        return len(self.history.attempts)


class Observer:
    """Looks at the jobs of a batch.

    Args:
        batch: The batch.
        index: Remembers run logs that have not changed.
        stale_s: Silence after which another machine's process counts as dead.
    """

    def __init__(self, batch: Batch, index: Index, *, stale_s: float = STALE_S) -> None:
        self._batch, self._index, self._stale_s = batch, index, stale_s

    def look(self, jobs: Iterable[BatchJob] | None = None) -> list[JobStatus]:
        """The jobs as they are now; all of them if none are named."""
        now = folder_time(self._batch.state)
        return [self._look(job, now) for job in (self._batch.jobs if jobs is None else jobs)]

    def look_at(self, job: BatchJob) -> JobStatus:
        """One job as it is now."""
        return self._look(job, folder_time(self._batch.state))

    def _look(self, job: BatchJob, now: float) -> JobStatus:
        # Attempts first: one that begins after this look makes claiming fail.
        history = read_history(self._batch.state / job.name)
        summary, note = None, ""
        try:
            identity = identity_of_config(job.resolved.config)
        except (WorldKVError, TrajectoryError) as error:
            identity, note = "", f"{error.problem} ({error.where})"
        try:
            summary = self._index.summary(job)
        except InputError as error:
            note = f"{error.problem} ({error.where})"
        state, why, failure = self._judge(identity, history, summary, now)
        return JobStatus(job, state, identity, history, summary, note or why, failure)

    def _judge(
        self, identity: str, history: History, summary: RunSummary | None, now: float
    ) -> tuple[State, str, End | None]:
        newest = history.newest
        if newest is not None and newest.lives(now, self._stale_s):
            return "running", f"on {newest.process}", None
        if summary is not None and summary.status == "done" and identity_of_run(summary) == identity:
            return "done", "", None
        if history.cancelled:
            return "cancelled", "", None
        counted = history.counted(identity)
        failed = [a.end for a in counted if a.end is not None and a.end.outcome == "failed"]
        cut_off = [a for a in counted if a.end is None]
        failure = failed[-1] if failed else None
        if failure is not None and (failure.is_final or len(failed) > self._batch.retries):
            return "failed", "", failure
        if len(cut_off) > self._batch.restarts:
            return "failed", "", _cut_off_too_often(cut_off)
        return "waiting", _why_waiting(counted, summary), failure


def counts(statuses: Iterable[JobStatus]) -> dict[State, int]:
    """How many jobs are in which state."""
    found = Counter(status.state for status in statuses)
    return {state: found[state] for state in STATES}


def _why_waiting(counted: tuple[Attempt, ...], summary: RunSummary | None) -> str:
    if not counted:
        return "was made with other settings" if summary is not None and summary.status == "done" else ""
    end = counted[-1].end
    if end is None:
        return f"was cut off on {counted[-1].process}"
    if end.outcome == "done":
        return "its run log is gone"
    return {"failed": "failed", "unwritable": "the disk was full"}.get(end.outcome, "was interrupted")


def _cut_off_too_often(cut_off: list[Attempt]) -> End:
    times = f"{len(cut_off)} times" if len(cut_off) > 1 else "once"
    return End(
        "failed",
        cut_off[-1].started_at,
        f"the job was cut off {times}, the last time on {cut_off[-1].process}",
        "",
        "is memory short? `restarts` in the manifest says how often a job may start again",
        1,
    )
