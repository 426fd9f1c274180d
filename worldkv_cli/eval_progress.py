"""The progress of an evaluation: baselines as they are made, then the runs that are measured."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from worldkv_cli.console import print_warning
from worldkv_cli.progress import progress

if TYPE_CHECKING:
    from core.generate import Job
    from core.schemas.run import RunSummary


def show_progress(*, quiet: bool) -> EvalProgress:
    """The display that fits where stderr goes."""
    return EvalProgress(quiet=quiet)


class EvalProgress:
    """Tells what is made and measured.

    Args:
        quiet: Show nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    def run(self, job: Job, folder: Path) -> RunSummary:
        """Make a baseline, as `worldkv generate` does."""
        if not self._quiet:
            _write(f"making {folder} ({job.config.memory}, {job.num_chunks} chunks)\n")
            for note in job.notes:
                print_warning(note)
        with progress(job.num_chunks, quiet=self._quiet) as display:
            return job.run(lambda record: display.update(record.model_dump()), display.loading)[0]

    @contextmanager
    def measuring(self, total: int) -> Iterator[Callable[[Path], None]]:
        """Tells which run is measured, on a terminal alone: a run takes seconds."""
        live = not self._quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        done = 0

        def begin(folder: Path) -> None:
            nonlocal done
            done += 1
            if live:
                _write(f"\r\033[Kmeasuring {folder} ({done} of {total})")

        try:
            yield begin
        finally:
            if live and done:
                _write("\r\033[K")


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
