"""`worldkv report`: a run as one HTML file, or several side by side."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worldkv_cli.console import human_bytes, print_json, print_warning

if TYPE_CHECKING:
    from core.report.make import Written

Flag = typer.Option


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("report")(report)


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders: one, or up to four to compare.")
    ],
    out: Annotated[
        Path | None,
        Flag(metavar="FILE", help="The HTML file (default RUN/report.html; of several: beside the first)."),
    ] = None,
    overwrite: Annotated[bool, Flag("--overwrite", help="Replace an earlier report.")] = False,
    link_video: Annotated[
        bool,
        Flag("--link-video", help="Keep videos beside the file; above 32 MiB together they always are."),
    ] = False,
    open_it: Annotated[bool, Flag("--open", help="Show it in the browser.")] = False,
    as_json: Annotated[bool, Flag("--json", help="Print what was written as one JSON object.")] = False,
) -> None:
    """Make one HTML file of a run: video, camera path, what was recalled when, memory, speed, revisits.

    It needs no network, and figures stand without JavaScript. Runs that were interrupted, failed or killed
    give a report, too, which says what is missing. Several runs are shown side by side, videos in step.
    """
    from core.report.make import write_report

    written = write_report(runs, out, overwrite=overwrite, link_video=link_video)
    if as_json:
        print_json(
            {
                "report": str(written.path),
                "size_bytes": written.size_bytes,
                "runs": [str(run) for run in written.runs],
                "video": written.video,
                "missing": list(written.missing),
            }
        )
    else:
        _tell(written)
    if open_it and not webbrowser.open(written.path.resolve().as_uri()):
        print_warning(f"no browser can be started here: open {written.path} yourself")


def _tell(written: Written) -> None:
    typer.echo(written.path)
    words = {"embedded": "video inside", "linked": "video beside it", "none": "no video"}[written.video]
    typer.echo(f"  {human_bytes(written.size_bytes)}, {words}")
    for said in written.missing:
        print_warning(said[:-1] if said.endswith(".") else said)
