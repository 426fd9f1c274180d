"""The progress of a batch: a live table on a terminal, a line a job in a pipe, nothing if quiet."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final

from core.batch.events import Advanced, Ended, Event, Loading, Started, WorkerLost
from worldkv_cli.console import human_bytes, human_time

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from core.batch.state import JobStatus

_REDRAW_S: Final = 0.25


def batch_display(num_jobs: int, *, quiet: bool = False) -> BatchDisplay:
    """The display that fits where stderr goes."""
    if quiet:
        return BatchDisplay(num_jobs)
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return LiveBatchDisplay(num_jobs)
    return LineBatchDisplay(num_jobs)


@dataclass
class Running:
    """A job that a worker of ours is at."""

    worker: str
    num_chunks: int
    since: float
    done_chunks: int = 0
    num_frames: int = 0
    loading: str = ""


class BatchDisplay:
    """Counts, and shows nothing.

    Args:
        num_jobs: Jobs of the batch.
    """

    def __init__(self, num_jobs: int) -> None:
        self.num_jobs = num_jobs
        self.states: dict[str, str] = {}
        self.running: dict[str, Running] = {}
        self.seconds: dict[str, float] = {}
        self.num_loads = 0

    @property
    def settled(self) -> int:
        """Jobs that nobody has to do any more."""
        return sum(state in ("done", "failed", "cancelled") for state in self.states.values())

    @property
    def counted(self) -> str:
        """States in words."""
        order = ("done", "running", "waiting", "failed", "cancelled")
        numbers = {state: sum(each == state for each in self.states.values()) for state in order}
        numbers["running"] = max(numbers["running"], len(self.running))
        numbers["waiting"] = self.num_jobs - sum(numbers[state] for state in order if state != "waiting")
        return ", ".join(f"{number} {state}" for state, number in numbers.items() if number > 0)

    def hear(self, event: Event) -> None:
        """Take what a worker says."""
        if isinstance(event, Started):
            self.running[event.job] = Running(event.worker, event.num_chunks, time.monotonic())
        elif isinstance(event, Ended | WorkerLost):
            ended = self.running.pop(event.job, None)
            self.num_loads += event.num_loads if isinstance(event, Ended) else 0
            if ended is not None:
                self.seconds[event.job] = time.monotonic() - ended.since
            if isinstance(event, WorkerLost):
                self._tell(f"{event.job}: its worker died ({event.how})")
        elif event.job in self.running and isinstance(event, Advanced):
            self.running[event.job].done_chunks = event.done_chunks
            self.running[event.job].num_frames = event.num_frames
            self.running[event.job].loading = ""
        elif event.job in self.running and isinstance(event, Loading):
            total = f" of {human_bytes(event.total_bytes)}" if event.total_bytes else ""
            self.running[event.job].loading = f"{event.what} {human_bytes(event.done_bytes)}{total}"
        self._show()

    def see(self, status: JobStatus) -> None:
        """Take a job's new state."""
        before = self.states.get(status.job.name)
        self.states[status.job.name] = status.state
        if before is not None and status.state in ("done", "failed", "cancelled"):
            seconds = self.seconds.get(status.job.name)
            took = f" ({human_time(seconds)})" if seconds is not None else ""
            why = f": {status.failure.problem}" if status.state == "failed" and status.failure else ""
            self._tell(f"{status.state} {self.settled}/{self.num_jobs}: {status.job.name}{took}{why}")
        self._show()

    def __enter__(self) -> BatchDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing to end."""

    def _tell(self, line: str) -> None:
        """Nothing to tell."""

    def _show(self) -> None:
        """Nothing to show."""


class LineBatchDisplay(BatchDisplay):
    """A plain line for every job that ends."""

    def _tell(self, line: str) -> None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


class LiveBatchDisplay(BatchDisplay):
    """A table of the workers that redraws itself, above it the lines of what went wrong."""

    def __enter__(self) -> BatchDisplay:
        from rich.console import Console
        from rich.live import Live

        self._shown_at = 0.0
        self._live: Live = Live(
            self.table(), console=Console(stderr=True, highlight=False), auto_refresh=False
        )
        self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.update(self.table(), refresh=True)
        self._live.stop()

    def _tell(self, line: str) -> None:
        if not line.startswith("done"):
            self._live.console.print(line, markup=False)

    def _show(self) -> None:
        if time.monotonic() - self._shown_at >= _REDRAW_S:
            self._live.update(self.table(), refresh=True)
            self._shown_at = time.monotonic()

    def table(self) -> Table:
        """What is running now."""
        from rich.table import Table

        table = Table(box=None, pad_edge=False, title=self.counted, title_justify="left", title_style="")
        for column in ("worker", "job", "chunks", "fps", "time"):
            table.add_column(column, justify="left" if column in ("worker", "job") else "right", no_wrap=True)
        for job, at in sorted(self.running.items(), key=lambda each: each[1].worker):
            seconds = time.monotonic() - at.since
            fps = f"{at.num_frames / seconds:.1f}" if seconds > 0 and at.num_frames else ""
            chunks = at.loading or f"{at.done_chunks}/{at.num_chunks}"
            table.add_row(at.worker, job, chunks, fps, human_time(seconds))
        return table
