"""`worldkv batch run` and `retry`: jobs on this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import InputError, OutputError
from worldkv_cli.commands.batch_display import BatchDisplay, batch_display
from worldkv_cli.commands.batch_errors import manifest_errors, print_problems
from worldkv_cli.commands.batch_status import as_json_object, counted, print_failures
from worldkv_cli.console import human_bytes, print_json, print_warning

if TYPE_CHECKING:
    from core.batch.drive import Drive
    from core.batch.loader import Batch
    from core.batch.state import JobStatus

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
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Try failed and cancelled jobs again: all of them, or those that are named.

    Their past attempts no longer count. Other jobs of the batch are not started.
    """
    from core.batch.history import forgive
    from core.batch.index import Index
    from core.batch.state import Observer

    with manifest_errors(as_json=as_json):
        batch = _load(manifest, jobs)
    ended = [
        status
        for status in Observer(batch, Index.of(batch)).look()
        if status.state in ("failed", "cancelled")
    ]
    for status in ended:
        forgive(status.history)
    if not ended:
        where = str(manifest) if not jobs else ", ".join(jobs)
        raise InputError("no job has failed or was cancelled", where=where, hint="see: worldkv batch status")
    batch = batch.only([status.job.name for status in ended])
    _Runner(batch, workers, devices, threads, as_json=as_json, quiet=quiet).run()


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
        self._warn(waiting)
        if waiting:
            self._check(waiting)
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

    def _warn(self, waiting: Sequence[JobStatus]) -> None:
        """What may surprise."""
        changed = [status for status in waiting if status.note == "was made with other settings"]
        if changed:
            jobs = "1 job was" if len(changed) == 1 else f"{len(changed)} jobs were"
            print_warning(f"{jobs} made with other settings and will be replaced: {changed[0].job.name}, ...")
        from core.config import CONFIG_ENV, ENV_PREFIX, KEYS

        keys = {f"{ENV_PREFIX}{key.upper()}" for key in KEYS} | {CONFIG_ENV}
        for name in sorted(keys & set(os.environ)):
            print_warning(f"{name} has no effect: a batch takes its settings from the manifest")

    def _check(self, waiting: Sequence[JobStatus]) -> None:
        """Plan what is going to run; stop here if something cannot."""
        from core.batch.check import check_jobs
        from core.batch.devices import has_gpu

        # A process that looks at a GPU's memory holds some of it until it ends: not this one, which stays.
        found = check_jobs([status.job for status in waiting], processes=1, apart=has_gpu())
        if found.problems:
            print_problems(found.problems)
            raise typer.Exit(found.exit_code)
        free = shutil.disk_usage(self.batch.state).free
        if found.disk_bytes > free:
            needed = f"the batch will take about {human_bytes(found.disk_bytes)}"
            print_warning(f"{needed}, and {human_bytes(free)} are free in {self.batch.out}")

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
