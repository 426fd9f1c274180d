"""The progress of a profile: one line on a terminal, nothing in a pipe."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType

from worldkv_cli.console import human_bytes, human_time


def profile_progress(*, quiet: bool) -> ProfileProgress:
    """The display that fits where stderr goes."""
    if quiet or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return ProfileProgress()
    return LiveProfileProgress()


class ProfileProgress:
    """Shows nothing."""

    def loading(self, what: str, done_bytes: int, total_bytes: int) -> None:
        """Weights are being loaded."""

    def step(self, what: str) -> None:
        """Something else begins."""

    def chunk(self, done: int, total: int, mode: str) -> None:
        """A chunk is done."""

    def __enter__(self) -> ProfileProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing to end."""


class LiveProfileProgress(ProfileProgress):
    """One line that redraws itself."""

    def __enter__(self) -> ProfileProgress:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (
            TextColumn("profile"),
            MofNCompleteColumn(),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[status]}", markup=False),
        )
        self._progress: Progress = Progress(*columns, console=Console(stderr=True, highlight=False))
        self._task = self._progress.add_task("profile", total=None, status="starting")
        self._began: float | None = None
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def loading(self, what: str, done_bytes: int, total_bytes: int) -> None:
        """Weights are being loaded."""
        of = f": {human_bytes(done_bytes)} of {human_bytes(total_bytes)}" if total_bytes else ""
        self._progress.update(self._task, status=f"loading {what}{of}")

    def step(self, what: str) -> None:
        """Something else begins."""
        self._progress.update(self._task, status=what)

    def chunk(self, done: int, total: int, mode: str) -> None:
        """A chunk is done."""
        now = time.monotonic()
        if self._began is None:
            self._began = now
        left = (now - self._began) / max(1, done - 1) * (total - done)
        told = f"{human_time(left)} to go, {mode}" if done > 1 else mode
        self._progress.update(self._task, completed=done, total=total, status=told)
