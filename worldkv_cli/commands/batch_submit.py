"""`worldkv batch submit`, and `retry` on a cluster: jobs for SLURM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import InputError
from worldkv_cli.commands.batch_errors import manifest_errors
from worldkv_cli.commands.batch_ready import check_waiting, warn_of_surprises
from worldkv_cli.commands.batch_status import as_json_object, counted
from worldkv_cli.console import print_json

if TYPE_CHECKING:
    from core.batch.loader import Batch
    from core.batch.slurm import SlurmExecutor
    from core.batch.state import JobStatus

Manifest = Annotated[Path, typer.Argument(metavar="BATCH.YAML", help="The manifest.", show_default=False)]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="[JOB]...", help="Some of its jobs alone.", show_default=False)
]
Parallel = Annotated[
    int | None,
    typer.Option(
        "--parallel", metavar="N", min=1, help="Jobs that run at once on the cluster (default: all)."
    ),
]
Time = Annotated[
    str,
    typer.Option(
        "--time", metavar="TIME", help="Time limit of a job on the cluster, such as 4:00:00 or 90m."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("submit")(submit)


def submit(
    manifest: Manifest,
    jobs: Names = None,
    parallel: Parallel = None,
    time: Time = "",
    check: Annotated[
        bool,
        typer.Option(help="Plan all jobs first; the cluster's nodes may have more memory than this one."),
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Hand what is still to be done to SLURM, as a job array.

    What is done, queued or running is not submitted. `resources` in the manifest say what a job takes; a job
    that is preempted goes back into the queue by itself. See `worldkv batch status`, `cancel` and `retry`.
    """
    from core.batch.index import Index
    from core.batch.loader import load_batch
    from core.batch.slurm_status import entries_of
    from core.batch.slurm_submissions import newest_number
    from core.batch.state import Observer

    with manifest_errors(as_json=as_json):
        batch = load_batch(manifest).only(jobs or ())
    handing = Handing(batch, parallel, time, newest_number(batch), check=check, as_json=as_json)
    statuses = Observer(batch, Index.of(batch)).look()
    waiting = [status for status in statuses if status.state == "waiting"]
    entries = entries_of(batch, waiting)
    there = {name for name, entry in entries.items() if entry.is_live}
    handing.run([status for status in waiting if status.job.name not in there])


@dataclass(frozen=True)
class Handing:
    """Handing jobs to SLURM, and telling of it.

    Attributes:
        batch: The batch.
        parallel: Jobs that run at once.
        time: Time limit in place of the manifest's; empty: the manifest's.
        seen: Number of the newest submission, read before anything else.
        check: Whether jobs are planned before.
        as_json: Whether to tell one JSON object.
    """

    batch: Batch
    parallel: int | None
    time: str
    seen: int
    check: bool
    as_json: bool

    def executor(self) -> SlurmExecutor:
        """What hands them in.

        Raises:
            InputError: SLURM is not here, or the time cannot be read.
        """
        from core.batch.slurm import SlurmExecutor
        from core.batch.slurm_queue import require_slurm

        require_slurm()
        return SlurmExecutor(parallel=self.parallel, time_s=_seconds(self.time), seen=self.seen)

    def run(self, waiting: Sequence[JobStatus]) -> None:
        """Hand in jobs.

        Raises:
            WorldKVError: See `core.batch.slurm.SlurmExecutor.submit`.
        """
        from core.batch.index import Index
        from core.batch.slurm_status import entries_of
        from core.batch.state import Observer

        executor = self.executor()
        warn_of_surprises(waiting)
        if waiting and self.check:
            check_waiting(self.batch, waiting)
        ids = executor.submit(self.batch, [status.job for status in waiting]) if waiting else {}
        statuses = Observer(self.batch, Index.of(self.batch)).look()
        entries = entries_of(self.batch, statuses)
        if self.as_json:
            print_json({**as_json_object(self.batch, statuses, entries), "submitted": dict(ids)})
        else:
            typer.echo(f"{self.batch.out}\n  {len(ids)} submitted: {counted(statuses, entries)}")


def _seconds(time: str) -> int | None:
    from core.batch.schema import seconds_of

    try:
        return seconds_of(time) if time else None
    except ValueError:
        hint = "such as 2:00:00, 1-12:00:00, 90m or 2h"
        raise InputError(f"{time!r} is no time", where="--time", hint=hint) from None
