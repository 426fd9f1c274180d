"""`worldkv batch status` and `cancel`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worldkv_cli.commands.batch_errors import manifest_errors
from worldkv_cli.console import print_error, print_json, print_warning

if TYPE_CHECKING:
    from core.batch.loader import Batch
    from core.batch.slurm_queue import Entry
    from core.batch.state import JobStatus

Manifest = Annotated[Path, typer.Argument(metavar="BATCH.YAML", help="The manifest.", show_default=False)]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="[JOB]...", help="Some of its jobs alone.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command("status")(status)
    app.command("cancel")(cancel)


def status(
    manifest: Manifest,
    jobs: Names = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Read every run folder anew, whatever batch.jsonl says.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what has become of every job, and why those failed that did."""
    from core.batch.index import Index
    from core.batch.loader import load_batch
    from core.batch.state import Observer

    with manifest_errors(as_json=as_json):
        whole = load_batch(manifest)
        batch = whole.only(jobs or ())
    index = Index.of(whole, rebuild=rebuild)
    statuses = Observer(whole, index).look(batch.jobs)
    if batch is whole:
        index.write((each.job.name, each.state) for each in statuses)
    entries = _entries(batch, statuses)
    if as_json:
        print_json(as_json_object(batch, statuses, entries))
        return
    for each in statuses:
        if each.state != "done" or jobs:
            typer.echo(_line(each, entries.get(each.job.name)))
    typer.echo(counted(statuses, entries))
    print_failures(batch, statuses)


def cancel(manifest: Manifest, jobs: Names = None) -> None:
    """Let nobody start the jobs that are not done: all of them, or those that are named.

    Whoever is at one, on any machine, stops after its chunk. What SLURM has queued leaves the queue. `worldkv
    batch retry` takes it back.
    """
    from core.batch.history import cancel as cancel_job
    from core.batch.index import Index
    from core.batch.loader import load_batch
    from core.batch.slurm_queue import cancel_ids
    from core.batch.state import Observer

    with manifest_errors():
        batch = load_batch(manifest).only(jobs or ())
    stopped = [
        each
        for each in Observer(batch, Index.of(batch)).look()
        if each.state in ("waiting", "running", "failed")
    ]
    for each in stopped:
        cancel_job(each.history.folder)
    entries = _entries(batch, stopped)
    cancel_ids([entry.id for entry in entries.values() if entry.is_live])
    running = sum(each.state == "running" for each in stopped)
    typer.echo(
        f"{len(stopped)} cancelled" + (f", {running} of them stop after their chunk" if running else "")
    )


def counted(statuses: Sequence[JobStatus], entries: Mapping[str, Entry] | None = None) -> str:
    """How many jobs are in which state, in words."""
    from core.batch.slurm_status import shown_counts

    said = [f"{number} {state}" for state, number in shown_counts(statuses, entries or {}).items() if number]
    return ", ".join(said)


def print_failures(batch: Batch, statuses: Sequence[JobStatus]) -> None:
    """Why jobs failed, in three lines each and the log."""
    from core.errors import WorldKVError

    for each in statuses:
        if each.state == "failed" and each.failure is not None:
            why, log = each.failure, batch.log_of(each.job.name)
            where = ", ".join(filter(None, (why.where, f"log: {log}" if log.exists() else "")))
            problem = f"{each.job.name}: {why.problem}"
            if each.num_attempts > 1:
                problem += f" ({each.num_attempts} attempts)"
            print_error(WorldKVError(problem, where=where, hint=why.hint))


def as_json_object(
    batch: Batch, statuses: Sequence[JobStatus], entries: Mapping[str, Entry] | None = None
) -> dict[str, Any]:
    """The batch as --json has it."""
    from core.batch.slurm_status import shown_counts, shown_state

    known = entries or {}
    return {
        "out": str(batch.out),
        "counts": shown_counts(statuses, known),
        "jobs": [
            {
                "job": each.job.name,
                "state": shown_state(each, known.get(each.job.name)),
                "folder": str(each.job.folder),
                "attempts": each.num_attempts,
                "note": each.note,
                "failure": asdict(each.failure) if each.failure is not None else None,
                "log": str(batch.log_of(each.job.name)),
                "slurm": asdict(known[each.job.name]) if each.job.name in known else None,
            }
            for each in statuses
        ],
    }


def _entries(batch: Batch, statuses: Sequence[JobStatus]) -> dict[str, Entry]:
    """What SLURM knows; where it cannot be asked, the run folders say enough."""
    from core.batch.slurm_status import entries_of
    from core.errors import WorldKVError

    try:
        return entries_of(batch, statuses)
    except WorldKVError as error:
        print_warning(f"{error.problem}: what is queued there is shown as waiting")
        return {}


def _line(each: JobStatus, entry: Entry | None) -> str:
    from core.batch.results import num_chunks_made
    from core.batch.slurm_status import shown_state

    tried = f"attempt {each.num_attempts}" if each.num_attempts > 1 else ""
    why = each.failure.problem if each.failure is not None else each.note
    if each.state == "running":
        made = num_chunks_made(each.job.folder)
        why += f", {made} chunk{'s' * (made != 1)}"
    slurm = str(entry) if entry is not None else ""
    state = shown_state(each, entry)
    return f"{state:9}  {each.job.name}  {', '.join(filter(None, (tried, why, slurm)))}".rstrip()
