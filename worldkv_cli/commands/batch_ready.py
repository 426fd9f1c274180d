"""What is looked at before jobs of a batch start, wherever they start."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from worldkv_cli.commands.batch_errors import print_problems
from worldkv_cli.console import human_bytes, print_warning

if TYPE_CHECKING:
    from core.batch.loader import Batch
    from core.batch.state import JobStatus


def warn_of_surprises(waiting: Sequence[JobStatus]) -> None:
    """Tell of runs that will be replaced, and of settings that have no say."""
    from core.config import CONFIG_ENV, ENV_PREFIX, KEYS

    changed = [status for status in waiting if status.note == "was made with other settings"]
    if changed:
        jobs = "1 job was" if len(changed) == 1 else f"{len(changed)} jobs were"
        print_warning(f"{jobs} made with other settings and will be replaced: {changed[0].job.name}, ...")
    keys = {f"{ENV_PREFIX}{key.upper()}" for key in KEYS} | {CONFIG_ENV}
    for name in sorted(keys & set(os.environ)):
        print_warning(f"{name} has no effect: a batch takes its settings from the manifest")


def check_waiting(batch: Batch, waiting: Sequence[JobStatus]) -> None:
    """Plan what is going to run; stop here if something cannot."""
    from core.batch.check import check_jobs
    from core.batch.devices import has_gpu

    # A process that looks at a GPU's memory holds some of it until it ends: not this one, which stays.
    found = check_jobs([status.job for status in waiting], processes=1, apart=has_gpu())
    if found.problems:
        print_problems(found.problems)
        raise typer.Exit(found.exit_code)
    free = shutil.disk_usage(batch.state).free
    if found.disk_bytes > free:
        needed = f"the batch will take about {human_bytes(found.disk_bytes)}"
        print_warning(f"{needed}, and {human_bytes(free)} are free in {batch.out}")
