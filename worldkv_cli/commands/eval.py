"""`worldkv eval`: does a video remember where it has been, and how sure is that?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worldkv_cli.console import print_json, print_warning
from worldkv_cli.eval_progress import show_progress

if TYPE_CHECKING:
    from core.schemas.eval import EvalReport

Flag = typer.Option
_COMPARED, _MEASURED, _OUT = "What is compared", "What is measured", "What comes out"


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("eval")(evaluate_runs)


def evaluate_runs(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders that worldkv generate made.")],
    against: Annotated[
        str | None,
        Flag(
            metavar="MODES",
            help="Memory modes to compare with, such as full,sliding: same seed, trajectory and settings. "
            "Made beside the run where they are missing (RUN-full); nothing is overwritten.",
            rich_help_panel=_COMPARED,
        ),
    ] = None,
    max_distance: Annotated[
        float,
        Flag(
            help="Largest |translation| + angle/pi of a revisit. Translation is in the trajectory's units as "
            "they are: 0.15 is 0.15 units, or 27 degrees.",
            rich_help_panel=_COMPARED,
        ),
    ] = 0.15,
    min_gap: Annotated[
        int, Flag(metavar="FRAMES", help="Least video frames between the visits.", rich_help_panel=_COMPARED)
    ] = 30,
    max_pairs: Annotated[
        int, Flag(metavar="N", help="Most pairs of a rollout, evenly thinned.", rich_help_panel=_COMPARED)
    ] = 64,
    latents: Annotated[
        bool,
        Flag(
            "--latents",
            help="Load a large model's codec for the distance in its latent space (mini's is at hand).",
            rich_help_panel=_MEASURED,
        ),
    ] = False,
    plot: Annotated[
        Path | None,
        Flag(
            metavar="FILE",
            help="Draw fidelity over time, with controls (.png or .svg).",
            rich_help_panel=_OUT,
        ),
    ] = None,
    csv: Annotated[
        Path | None, Flag("--csv", metavar="FILE", help="Write a line for every pair.", rich_help_panel=_OUT)
    ] = None,
    as_json: Annotated[
        bool, Flag("--json", help="Print the report as one JSON object.", rich_help_panel=_OUT)
    ] = False,
    quiet: Annotated[bool, Flag("--quiet", "-q", help="No progress.", rich_help_panel=_OUT)] = False,
) -> None:
    """Measure what finished runs remember.

    Frames that return to an earlier view are compared with its earliest visit: chosen by camera alone, the
    same for all runs. Raw figures deceive (a frozen picture matches itself), so the gain over frames that
    look elsewhere, at the same gap in time, comes first. Give several runs that differ in seed for intervals.

    Frames are taken from the MP4 (H.264, crf 14, yuv420p), which costs mini's revisits less than 0.05 dB.
    """
    from core.evaluation.against import parse_modes
    from core.evaluation.evaluate import evaluate, gather
    from core.evaluation.output import check_csv, write_csv
    from core.evaluation.plot import check_plot, draw_plot
    from core.evaluation.protocol import Protocol

    protocol = Protocol(max_distance=max_distance, min_gap_frames=min_gap, max_pairs=max_pairs)
    modes = parse_modes(against)
    if plot is not None:
        check_plot(plot)
    if csv is not None:
        check_csv(csv)
    display = show_progress(quiet=quiet or as_json)
    recordings, found = gather(runs, modes, display.run)
    with display.measuring(len(recordings)) as on_run:
        report = evaluate(recordings, protocol=protocol, baselines=found, latents=latents, on_run=on_run)
    if csv is not None:
        write_csv(report, csv)
    if plot is not None:
        draw_plot(report, plot)
    _tell(report, [path for path in (csv, plot) if path is not None], as_json=as_json)


def _tell(report: EvalReport, files: list[Path], *, as_json: bool) -> None:
    """The answer on stdout, what is odd about it on stderr."""
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        from worldkv_cli.eval_table import print_report

        print_report(report, files)
    for run in report.runs:
        for note in run.notes:
            print_warning(f"{run.folder}: {note}")
