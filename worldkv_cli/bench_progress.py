"""The progress of a bench: one line on a terminal, nothing in a pipe."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from worldkv_cli.console import human_time

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from core.bench.run import Progress


def bench_progress(*, quiet: bool) -> BenchProgress:
    """The display that fits where stderr goes."""
    if quiet or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return BenchProgress()
    return LiveBenchProgress()


class BenchProgress:
    """Shows nothing."""

    def told(self, progress: Progress) -> None:
        """How far it is."""

    def __enter__(self) -> BenchProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing to end."""


class LiveBenchProgress(BenchProgress):
    """One line that redraws itself."""

    def __enter__(self) -> BenchProgress:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (
            TextColumn("bench"),
            MofNCompleteColumn(),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[status]}", markup=False),
        )
        self._progress: RichProgress = Progress(*columns, console=Console(stderr=True, highlight=False))
        self._task = self._progress.add_task("bench", total=None, status="starting")
        self._began = time.monotonic()
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def told(self, progress: Progress) -> None:
        """How far it is, with the time left once a cell has shown how long one takes."""
        words = []
        if progress.work_done:
            left = (time.monotonic() - self._began) / progress.work_done * progress.work_left
            words.append(f"{human_time(left)} to go")
        if progress.cell is not None:
            words.append(f"{progress.cell.score.setting}, {progress.cell.script}")
        self._progress.update(
            self._task,
            completed=progress.done,
            total=progress.total,
            status=", ".join(words) or "starting",
        )
