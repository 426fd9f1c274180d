"""`worldkv traj`: list, show, check, and the JSON Schema of trajectory files."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worldkv_cli.console import guard, print_error, print_json

if TYPE_CHECKING:
    from trajectories.geometry import RevisitSegment
    from trajectories.summary import Summary

app = typer.Typer(
    help="Scripted camera paths: the bundled library and your own YAML files.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_MOST_ERRORS = 50  # of one file
_MOST_ROWS = 12  # revisits that `show` lists before it says how many more there are
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


@app.command("list")
def list_command(as_json: JsonFlag = False) -> None:
    """List the bundled trajectories."""
    import trajectories
    from trajectories.summary import summarise

    with guard():
        summaries = [summarise(trajectories.load(name)) for name in trajectories.library_names()]
    if as_json:
        print_json({"trajectories": [summary.as_dict() for summary in summaries]})
        return
    rows: list[tuple[str, ...]] = [("NAME", "FRAMES", "SECONDS", "REVISITS", "DESCRIPTION")]
    rows += [
        (
            summary.name,
            str(summary.num_frames),
            f"{summary.duration_s:.1f}",
            "-" if summary.num_revisits is None else str(summary.num_revisits),
            _first_sentence(summary.description),
        )
        for summary in summaries
    ]
    _print_table(rows)


@app.command()
def show(
    source: Annotated[
        str, typer.Argument(help="Name in the library, or path of a YAML file.", metavar="NAME|FILE")
    ],
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Write a top-down picture here (.svg or .png).", metavar="FILE"),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Summarise a trajectory: frames, speed, marks, and the views that come again."""
    import trajectories
    from trajectories.preview.write import check_plot_path, write_plot
    from trajectories.summary import summarise

    with guard():
        if plot is not None:
            check_plot_path(plot)
        trajectory = trajectories.load(source)
        summary = summarise(trajectory)
        if plot is not None:
            write_plot(trajectory, summary, plot)
    if as_json:
        print_json({**summary.as_dict(), "plot": None if plot is None else str(plot)})
        return
    _print_summary(summary)
    if plot is not None:
        typer.echo(f"plot written to {plot}", err=True)


@app.command()
def check(
    files: Annotated[list[str], typer.Argument(help="Names or files to check.", metavar="NAME|FILE...")],
    as_json: JsonFlag = False,
) -> None:
    """Check trajectory files; print every error and exit with 2 if there is any."""
    import trajectories

    results: list[dict[str, object]] = []
    num_wrong = 0
    for source in files:
        try:
            num_frames = trajectories.load(source).num_frames
        except trajectories.TrajectoryError as error:
            num_wrong += 1
            errors = [error, *error.also]
            for one in errors[:_MOST_ERRORS]:
                print_error(one)
            if len(errors) > _MOST_ERRORS:
                typer.echo(f"and {len(errors) - _MOST_ERRORS} more in {source}", err=True)
            found = [{"problem": one.problem, "where": one.where, "hint": one.hint} for one in errors]
            results.append({"source": source, "ok": False, "errors": found})
        else:
            results.append({"source": source, "ok": True, "num_frames": num_frames})
            if not as_json:
                typer.echo(f"{source}: ok, {num_frames} frames")
    if as_json:
        print_json({"ok": num_wrong == 0, "files": results})
    if num_wrong:
        typer.echo(f"{num_wrong} of {len(files)} trajectories have errors", err=True)
        raise typer.Exit(trajectories.TrajectoryError.exit_code)


@app.command()
def schema() -> None:
    """Print the JSON Schema of trajectory files, for editors."""
    from trajectories.schema import json_schema

    print_json(json_schema())


def _print_summary(summary: Summary) -> None:
    slow, fast = summary.move_units_per_frame
    least, most = summary.turn_deg_per_frame
    right, up, forward = summary.extent_units
    typer.echo(summary.name)
    if summary.description:
        typer.echo(textwrap.fill(summary.description, 88, initial_indent="  ", subsequent_indent="  "))
    typer.echo("")
    gap_range = ""
    if summary.revisits:
        low = min(segment.min_gap_frames for segment in summary.revisits)
        high = max(segment.max_gap_frames for segment in summary.revisits)
        gap_range = f", gaps of {low} to {high}"
    searched = summary.num_revisits is not None
    found = f"{summary.num_revisits} frames see an earlier view again{gap_range}"
    figures = [
        ("frames", f"{summary.num_frames}  ({summary.duration_s:.2f} s at {summary.fps:g} fps)"),
        ("path", f"{summary.path_length_units:.2f} units  (box {right:.2f} x {up:.2f} x {forward:.2f})"),
        ("speed", f"{slow:.3g} to {fast:.3g} units per frame" if fast else "does not move"),
        (
            "turn",
            f"{least:.3g} to {most:.3g} degrees per frame, {summary.total_turn_deg:.0f} in all"
            if most
            else "does not turn",
        ),
        ("actions", f"keys and mouse follow the camera within {summary.action_drift_units:.3f} units"),
        ("marks", _marks_text(summary.marks)),
        ("revisits", found if searched else "not searched: too many frames"),
    ]
    for name, text in figures:
        typer.echo(f"  {name:<9} {text}")
    if summary.revisits:
        typer.echo("")
        _print_table(
            [("FRAMES", "SEEN BEFORE AT", "GAP"), *map(_revisit_row, summary.revisits[:_MOST_ROWS])], indent=2
        )
        if len(summary.revisits) > _MOST_ROWS:
            typer.echo(f"  and {len(summary.revisits) - _MOST_ROWS} more (--json lists all)")


def _marks_text(marks: dict[str, int]) -> str:
    shown = [f"{name} {frame}" for name, frame in list(marks.items())[:_MOST_ROWS]]
    more = f", and {len(marks) - len(shown)} more" if len(marks) > len(shown) else ""
    return ", ".join(shown) + more if shown else "none"


def _revisit_row(segment: RevisitSegment) -> tuple[str, ...]:
    gaps = sorted({segment.min_gap_frames, segment.max_gap_frames})
    return (
        f"{segment.start}..{segment.stop}",
        f"{segment.first_start}..{segment.first_stop}",
        " to ".join(map(str, gaps)),
    )


def _print_table(rows: list[tuple[str, ...]], indent: int = 0) -> None:
    """Columns of equal width; the last one as wide as it is."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        typer.echo(" " * indent + "  ".join(cells).rstrip())


def _first_sentence(text: str) -> str:
    for end, letter in enumerate(text):
        if letter in ".:;":
            return text[:end]
    return text
