"""`worldkv batch`: many rollouts from one manifest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worldkv_cli.commands import batch_collect, batch_run, batch_status, batch_submit
from worldkv_cli.commands.batch_errors import manifest_errors, print_problems
from worldkv_cli.console import human_bytes, human_time, print_json, print_warning

if TYPE_CHECKING:
    from core.batch.check import BatchCheck
    from core.batch.loader import Batch

app = typer.Typer(help="Many rollouts from one manifest.", no_args_is_help=True)
Manifest = Annotated[Path, typer.Argument(metavar="BATCH.YAML", help="The manifest.", show_default=False)]


@app.callback()
def batch() -> None:
    """Many rollouts from one manifest, whatever happens in between.

    What became of a job stands in its run folder: a batch can be stopped, killed and run again at any time,
    on several machines at once.
    """


@app.command()
def schema() -> None:
    """Print the JSON Schema of batch.yaml."""
    from core.batch.schema import batch_json_schema

    print_json(batch_json_schema())


@app.command()
def check(
    manifest: Manifest,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", metavar="N", min=1, help="Processes that plan (default 1).")
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Plan every job, and say what does not fit or is missing. Nothing runs.

    Exit code 2 for bad input, 3 if a job does not fit its budget, 4 if model files are missing.
    """
    from core.batch.check import check_jobs
    from core.batch.loader import load_batch

    with manifest_errors(as_json=as_json):
        loaded = load_batch(manifest)
    found = check_jobs(loaded.jobs, processes=jobs)
    if as_json:
        print_json(_as_json(loaded, found))
    else:
        typer.echo(_table(found))
        typer.echo(summary_line(loaded, found))
        for note in notes_of(found):
            print_warning(note)
        print_problems(found.problems)
    if found.exit_code:
        raise typer.Exit(found.exit_code)


def summary_line(batch: Batch, found: BatchCheck) -> str:
    """The whole batch in a line."""
    good = sum(checked.plan is not None for checked in found.jobs)
    num = len(found.jobs)
    text = f"{num} job{'s' * (num != 1)} from {found.num_plans} plan{'s' * (found.num_plans != 1)}"
    text += f", {found.num_frames:,} frames, about {human_bytes(found.disk_bytes)} in {batch.out}"
    if found.seconds is not None:
        text += f", {found.seconds / 3600:.2g} hours one after the other"
    return text if good == num else f"{text}; {num - good} cannot run"


def notes_of(found: BatchCheck) -> list[str]:
    """What planning had to say, each thing once, with the number of jobs that it concerns."""
    counts: dict[str, int] = {}
    for checked in found.jobs:
        for note in checked.plan.notes if checked.plan is not None else ():
            counts[note] = counts.get(note, 0) + 1
    return [f"{note} ({count} job{'s' * (count != 1)})" for note, count in counts.items()]


def _table(found: BatchCheck) -> str:
    """A line a job: frames, size and what it takes."""
    width = max(len(checked.job.name) for checked in found.jobs)
    timed = any(checked.plan is not None and checked.plan.seconds is not None for checked in found.jobs)
    lines = [f"{'job':{width}}  {'chunks':>6}  {'frames':>6}  {'size':>9}  {'device':>8}  {'host':>8}"]
    lines[0] += f"  {'time':>8}" if timed else ""
    for checked in found.jobs:
        name, plan = f"{checked.job.name:{width}}", checked.plan
        if plan is None:
            problem = checked.problem.problem if checked.problem is not None else ""
            lines.append(f"{name}  {problem}")
            continue
        size = f"{plan.size[0]}x{plan.size[1]}"
        memory = f"{human_bytes(plan.device_bytes):>8}  {human_bytes(plan.host_bytes):>8}"
        time = f"  {human_time(plan.seconds):>8}" if plan.seconds is not None else ""
        lines.append(f"{name}  {plan.num_chunks:6}  {plan.num_frames:6}  {size:>9}  {memory}{time}")
    return "\n".join(lines)


def _as_json(batch: Batch, found: BatchCheck) -> dict[str, Any]:
    from dataclasses import asdict

    jobs = []
    for checked in found.jobs:
        plan = {} if checked.plan is None else {**asdict(checked.plan), "disk_bytes": checked.plan.disk_bytes}
        jobs.append({"job": checked.job.name, "folder": str(checked.job.folder), "plan": plan or None})
    return {
        "ok": not found.problems,
        "out": str(batch.out),
        "num_jobs": len(found.jobs),
        "num_plans": found.num_plans,
        "num_frames": found.num_frames,
        "seconds": found.seconds,
        "disk_bytes": found.disk_bytes,
        "jobs": jobs,
        "problems": [asdict(problem) for problem in found.problems],
    }


batch_run.register(app)
batch_submit.register(app)
batch_status.register(app)
batch_collect.register(app)
