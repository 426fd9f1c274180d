"""`worldkv batch collect`: one table of all runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from core.errors import InputError, OutputError
from worldkv_cli.commands.batch_errors import manifest_errors
from worldkv_cli.commands.batch_status import counted

Manifest = Annotated[Path, typer.Argument(metavar="BATCH.YAML", help="The manifest.", show_default=False)]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="[JOB]...", help="Some of its jobs alone.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("collect")(collect)


def collect(
    manifest: Manifest,
    jobs: Names = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FILE", help="A .csv, .json or .parquet file (default: stdout)."),
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", metavar="FILE", help="A picture with frames of every job.")
    ] = None,
    frames: Annotated[
        str, typer.Option(metavar="LIST", help="Which frames, such as 0,24,48 (default: six, evenly spread).")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of records instead of CSV.")] = False,
) -> None:
    """Make one table of all jobs: axes, settings that vary, totals, fidelity, plan.

    A row a job, whatever became of it; columns are named as in run.json, with dots.
    """
    from core.batch.collect import collect as rows_of
    from core.batch.collect import json_text, table_text, write_table
    from core.batch.index import Index
    from core.batch.loader import load_batch
    from core.batch.sheet import batch_sheet
    from core.batch.state import Observer

    with manifest_errors():
        whole = load_batch(manifest)
        batch = whole.only(jobs or ())
    chosen = _numbers(frames)
    index = Index.of(whole)
    statuses = Observer(whole, index).look(batch.jobs)
    rows = rows_of(batch, statuses)
    if to is not None:
        write_table(rows, to)
        typer.echo(f"{to}\n  {len(rows)} jobs: {counted(statuses)}")
    elif sheet is None or as_json:
        sys.stdout.write(json_text(rows) if as_json else table_text(rows))
    if sheet is not None:
        picture = batch_sheet(statuses, frames=chosen, title=manifest.stem)
        try:
            picture.save(sheet)
        except (OSError, ValueError) as error:
            raise OutputError(f"the picture cannot be written: {error}", where=str(sheet)) from error
        typer.echo(str(sheet))


def _numbers(frames: str) -> list[int]:
    words = [word.strip() for word in frames.split(",") if word.strip()]
    if not all(word.isdecimal() for word in words):
        raise InputError(
            f"frames are whole numbers, got {frames!r}", where="--frames", hint="such as 0,24,48"
        )
    return [int(word) for word in words]
