"""The progress of a rollout: live on a terminal, now and then a line in a pipe, nothing if quiet."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from worldkv_cli.console import human_bytes, human_time

if TYPE_CHECKING:
    from rich.progress import Progress

_RECENT_CHUNKS: Final = 8  # what speed and remaining time are measured on
_LINE_EVERY_S: Final = 10.0
_LINE_EVERY_SHARE: Final = 0.1


def progress(total_chunks: int, *, quiet: bool = False) -> RolloutProgress:
    """The display that fits where stderr goes.

        with progress(total_chunks, quiet=quiet) as display:
            for chunk in rollout(...):
                display.update(record.model_dump())

    Args:
        total_chunks: Chunks of the whole rollout.
        quiet: Show nothing.
    """
    if quiet:
        return RolloutProgress(total_chunks)
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return LiveProgress(total_chunks)
    return LineProgress(total_chunks)


class RolloutProgress:
    """Counts, and shows nothing.

    Args:
        total_chunks: Chunks of the whole rollout.
        clock: Seconds that pass; tests bring their own.
    """

    def __init__(self, total_chunks: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.total_chunks = total_chunks
        self.done_chunks = 0
        self._clock = clock
        self._hits = self._misses = self._bank_bytes = 0
        self._recent: deque[tuple[int, float]] = deque(maxlen=_RECENT_CHUNKS)  # video frames, seconds
        self._last_update = clock()

    def update(self, record: Mapping[str, Any]) -> None:
        """Count a finished chunk.

        Args:
            record: A `ChunkRecord` as a dict.
        """
        now = self._clock()
        self._recent.append((int(record["num_frames"]), now - self._last_update))
        self._last_update = now
        self._hits += int(record.get("hits", 0))
        self._misses += int(record.get("misses", 0))
        self._bank_bytes = sum(record.get("bank_bytes", {}).values())
        self.done_chunks += 1
        self._show()

    def loading(self, what: str, done_bytes: int, total_bytes: int) -> None:
        """Weights are being loaded; the time for it is no chunk's."""
        self._last_update = self._clock()
        self._show_loading(what, done_bytes, total_bytes)

    @property
    def fps(self) -> float:
        """Video frames per second over the last chunks; 0 before the first."""
        seconds = sum(second for _, second in self._recent)
        return sum(frames for frames, _ in self._recent) / seconds if seconds > 0 else 0.0

    @property
    def remaining_s(self) -> float | None:
        """Seconds to go at the speed of the last chunks; None before the first."""
        if not self._recent:
            return None
        per_chunk = sum(second for _, second in self._recent) / len(self._recent)
        return per_chunk * max(0, self.total_chunks - self.done_chunks)

    @property
    def status(self) -> str:
        """Speed, time to go, hits and bank in words."""
        remaining = "-:--" if self.remaining_s is None else human_time(self.remaining_s)
        memory = f"hits {self._hits}, misses {self._misses}, bank {human_bytes(self._bank_bytes)}"
        return f"{self.fps:.1f} fps, {remaining} to go, {memory}"

    def __enter__(self) -> RolloutProgress:
        self._last_update = self._clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing to end."""

    def _show(self) -> None:
        """Nothing to show."""

    def _show_loading(self, what: str, done_bytes: int, total_bytes: int) -> None:
        """Nothing to show."""


class LineProgress(RolloutProgress):
    """A plain line for every tenth of the rollout, or every ten seconds, whichever comes first."""

    def __init__(self, total_chunks: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(total_chunks, clock=clock)
        self._shown_share = 0.0
        self._shown_at = clock()
        self._shown_loaded = ""

    def _show(self) -> None:
        share = self.done_chunks / max(1, self.total_chunks)
        due = (
            share - self._shown_share >= _LINE_EVERY_SHARE - 1e-9
            or self._clock() - self._shown_at >= _LINE_EVERY_S
        )
        if due or self.done_chunks == self.total_chunks:
            sys.stderr.write(f"chunk {self.done_chunks}/{self.total_chunks} ({share:.0%}): {self.status}\n")
            sys.stderr.flush()
            self._shown_share, self._shown_at = share, self._clock()

    def _show_loading(self, what: str, done_bytes: int, total_bytes: int) -> None:
        told = _loaded(what, done_bytes, total_bytes)
        if self._clock() - self._shown_at >= _LINE_EVERY_S and told != self._shown_loaded:
            sys.stderr.write(f"loading {told}\n")
            sys.stderr.flush()
            self._shown_at, self._shown_loaded = self._clock(), told


class LiveProgress(RolloutProgress):
    """One line that redraws itself."""

    def __enter__(self) -> RolloutProgress:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        super().__enter__()
        columns = (
            TextColumn("chunk"),
            MofNCompleteColumn(),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[status]}", markup=False),
        )
        # Rich leaves colours out by itself under NO_COLOR.
        self._progress: Progress = Progress(*columns, console=Console(stderr=True, highlight=False))
        self._task = self._progress.add_task("rollout", total=self.total_chunks, status="starting")
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def _show(self) -> None:
        self._progress.update(self._task, completed=self.done_chunks, status=self.status)

    def _show_loading(self, what: str, done_bytes: int, total_bytes: int) -> None:
        self._progress.update(self._task, status=f"loading {_loaded(what, done_bytes, total_bytes)}")


def _loaded(what: str, done_bytes: int, total_bytes: int) -> str:
    return f"{what}: {human_bytes(done_bytes)} of {human_bytes(total_bytes)}" if total_bytes else what
