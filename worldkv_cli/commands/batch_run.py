"""`worldkv batch run` and `retry`: jobs on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import InputError, OutputError
from worldkv_cli.commands.batch_errors import manifest_errors
from worldkv_cli.commands.batch_ready import check_waiting, warn_of_surprises
from worldkv_cli.commands.batch_status import as_json_object, counted, print_failures
from worldkv_cli.commands.batch_submit import Handing, Parallel, Time
from worldkv_cli.console import print_json

if TYPE_CHECKING:
    from core.batch.drive import Drive
    from core.batch.loader import Batch
    from core.batch.state import JobStatus
    from worldkv_cli.commands.batch_display import BatchDisplay

Manifest = Annotated[Path, typer.Argument(metavar="BATCH.YAML", help="The manifest.", show_default=False)]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="[JOB]...", help="Some of its jobs alone.", show_default=False)
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", "-n", metavar="N", min=1, help="Worker processes (default: one a GPU, or for two cores)."
    ),
]
Devices = Annotated[
    str,
    typer.Option(metavar="LIST", help="Devices to use, such as cuda:0,cuda:1 or cpu (default: all GPUs)."),
]
Threads = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="CPU threads of a worker (default: an equal share).")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command("run")(run)
    app.command("retry")(retry)


def run(
    manifest: Manifest,
    jobs: Names = None,
    workers: Workers = None,
    devices: Devices = "",
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run what is still to be done, on this machine.

    What is done is not made again, what was cut off starts again, and what others are at is left to them. All
    jobs are planned first; nothing starts if one cannot run. Exit code 1 if a job failed.
    """
    with manifest_errors(as_json=as_json):
        batch = _load(manifest, jobs)
    _Runner(batch, workers, devices, threads, as_json=as_json, quiet=quiet).run()


def retry(
    manifest: Manifest,
    jobs: Names = None,
    workers: Workers = None,
    devices: Devices = "",
    threads: Threads = None,
    parallel: Parallel = None,
    time: Time = "",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Try failed and cancelled jobs again: all of them, or those that are named.

    Their past attempts no longer count. Other jobs of the batch are not started. A batch that was submitted
    to SLURM goes there again, with what was killed or timed out there, unless --workers, --devices or
    --threads ask for this machine.
    """
    from core.batch.history import forgive
    from core.batch.slurm_queue import cancel_ids
    from core.batch.slurm_submissions import newest_number

    with manifest_errors(as_json=as_json):
        batch = _load(manifest, jobs)
    here = workers is not None or bool(devices) or threads is not None
    there = parallel is not None or bool(time)
    if here and there:
        hint = "--workers, --devices and --threads are for this machine, --parallel and --time for SLURM"
        raise InputError("the options ask for two places at once", where=str(manifest), hint=hint)
    seen = newest_number(batch)
    there = there or (not here and seen > 0)
    handing = Handing(batch, parallel, time, seen, check=True, as_json=as_json) if there else None
    if handing is not None:
        handing.executor()  # refuses before anything is changed
    ended, live_ids = _ended(batch, with_slurm=there)
    if not ended:
        where = str(manifest) if not jobs else ", ".join(jobs)
        raise InputError("no job has failed or was cancelled", where=where, hint="see: worldkv batch status")
    cancel_ids(live_ids)
    for status in ended:
        forgive(status.history)
    if handing is not None:
        handing.run(ended)
        return
    batch = batch.only([status.job.name for status in ended])
    _Runner(batch, workers, devices, threads, as_json=as_json, quiet=quiet).run()


def _ended(batch: Batch, *, with_slurm: bool) -> tuple[list[JobStatus], list[str]]:
    """Jobs that failed or were cancelled, or that SLURM has lost; ids of theirs that have not quite ended."""
    from core.batch.index import Index
    from core.batch.slurm_status import entries_of, is_lost
    from core.batch.state import Observer

    statuses = Observer(batch, Index.of(batch)).look()
    entries = entries_of(batch, statuses) if with_slurm else {}
    ended = [
        status
        for status in statuses
        if status.state in ("failed", "cancelled") or is_lost(status, entries.get(status.job.name))
    ]
    own = [entries[status.job.name] for status in ended if status.job.name in entries]
    return ended, [entry.id for entry in own if entry.is_live]


def _load(manifest: Path, jobs: Sequence[str] | None) -> Batch:
    from core.batch.loader import load_batch

    return load_batch(manifest).only(jobs or ())


class _Runner:
    """One `worldkv batch run`."""

    def __init__(
        self,
        batch: Batch,
        workers: int | None,
        devices: str,
        threads: int | None,
        *,
        as_json: bool,
        quiet: bool,
    ) -> None:
        from core.batch.index import Index
        from core.batch.state import Observer

        self.batch, self.as_json, self.quiet = batch, as_json, quiet or as_json
        self._asked = (workers, tuple(filter(None, devices.split(","))), threads)
        self.index = Index.of(batch)
        self.observer = Observer(batch, self.index)

    def run(self) -> None:
        """Check, run, and tell."""
        waiting = [status for status in self.observer.look() if status.state == "waiting"]
        warn_of_surprises(waiting)
        if waiting:
            self._check(waiting)
        from worldkv_cli.commands.batch_display import batch_display

        display = batch_display(len(self.batch.jobs), quiet=self.quiet)
        drive, stopped = self._drive(display)
        statuses = drive.statuses
        seen = [(status.job.name, status.state) for status in statuses]
        self.index.write(seen, keep_others=True)
        if self.as_json:
            print_json({**as_json_object(self.batch, statuses), "num_loads": display.num_loads})
        else:
            typer.echo(f"{self.batch.out}\n  {counted(statuses)}")
        print_failures(self.batch, statuses)
        full = drive.unwritable
        if full is not None:
            raise OutputError(full.problem, where=full.where, hint=full.hint)
        if stopped:
            raise KeyboardInterrupt(f"{counted(statuses)}; run it again to go on")
        if any(status.state == "failed" for status in statuses):
            raise typer.Exit(1)

    def _check(self, waiting: Sequence[JobStatus]) -> None:
        """Plan what is going to run; stop here if something cannot."""
        check_waiting(self.batch, waiting)

    def _drive(self, display: BatchDisplay) -> tuple[Drive, bool]:
        """Run until nothing is left to do; whether somebody asked to stop before."""
        from core.batch.devices import threads_a_worker, worker_devices
        from core.batch.drive import Drive
        from core.batch.local import LocalExecutor
        from core.interrupt import stop_on_signal

        workers, devices, threads = self._asked
        cpus = max((job.resources.cpus or 0 for job in self.batch.jobs), default=0) or None
        chosen = worker_devices(workers, devices, cpus_a_job=cpus, num_jobs=len(self.batch.jobs))
        executor = LocalExecutor(chosen, threads=threads_a_worker(len(chosen), threads))
        with stop_on_signal() as stop, executor, display:
            drive = Drive(self.batch, executor, self.observer, on_event=display.hear, on_status=display.see)
            drive.run(stop=lambda: bool(stop))
        return drive, bool(stop)
