"""What the benchmarks of whole models share: a profile that ends in time, printed and perhaps written."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from core.profiling.output import write_report
from core.profiling.plots import write_plots
from core.profiling.run import Watch, run_profile
from core.profiling.settings import ProfileSettings
from core.schemas.profile import ProfileReport
from worldkv_cli.profile_table import print_report


class Deadline:
    """Says when to stop."""

    def __init__(self, minutes: float) -> None:
        self._began, self._seconds = time.perf_counter(), 60 * minutes

    @property
    def spent_s(self) -> float:
        return time.perf_counter() - self._began

    def passed(self) -> bool:
        return self.spent_s > self._seconds

    def note(self, text: str) -> None:
        print(f"[{self.spent_s:6.1f} s] {text}", file=sys.stderr, flush=True)


def profiled(settings: ProfileSettings, deadline: Deadline, out: Path | None = None) -> ProfileReport:
    """Run and print a profile; `out` is a folder for its files."""

    def told(done: int, total: int, mode: str) -> None:
        if done % max(1, total // 10) == 0 or done == total:
            deadline.note(f"{done} of {total} chunks, {mode}")

    watch = Watch(on_chunk=told, on_step=deadline.note)
    report = run_profile(settings, os.environ, watch=watch, stop=deadline.passed).report
    files: list[Path] = []
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        files = write_report(report, out)
        if any(cell.lengths for cell in report.cells):
            files += write_plots(report, out)
    print_report(report, files)
    return report


def print_memory(report: ProfileReport) -> None:
    """Peak on the device against the plan's prediction, where modes ran one after another on a GPU."""
    for cell in report.cells:
        if cell.peak_bytes is not None:
            gib = 1 << 30
            print(
                f"{cell.mode:10} predicted {cell.predicted_bytes / gib:.2f} GiB, peak "
                f"{cell.peak_bytes / gib:.2f} ({cell.peak_bytes / cell.predicted_bytes:.3f} of it)"
            )
