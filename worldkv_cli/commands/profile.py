"""`worldkv profile`: how fast a machine runs a model, mode by mode, and how far that is from its limit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worldkv_cli.console import print_json, print_warning
from worldkv_cli.profile_progress import profile_progress
from worldkv_cli.profile_table import print_report

if TYPE_CHECKING:
    from core.profiling.run import Outcome
    from core.profiling.settings import ProfileSettings

Flag = typer.Option
_GRID, _MODEL, _WHERE = "What is compared", "What runs", "Where it runs and what comes out"


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("profile")(profile)


def profile(
    modes: Annotated[
        str,
        Flag(metavar="LIST", help="Memory modes.", rich_help_panel=_GRID),
    ] = "full,sliding,sink,worldkv",
    chunks: Annotated[
        str | None,
        Flag(
            metavar="LIST",
            help="Rollout lengths in chunks (default: mini 10,40,90, others 10,40).",
            rich_help_panel=_GRID,
        ),
    ] = None,
    vram_budget: Annotated[
        str | None,
        Flag(
            metavar="LIST",
            help="Budgets of device memory, such as 24GiB,72GiB (default: what is free).",
            rich_help_panel=_GRID,
        ),
    ] = None,
    repeats: Annotated[int, Flag(help="Rollouts of every cell of the grid.", rich_help_panel=_GRID)] = 3,
    every_chunk: Annotated[
        bool | None,
        Flag(
            "--every-chunk/--probe",
            help="Run all chunks, or a few before every length (default: all of mini's, else a few).",
            rich_help_panel=_GRID,
        ),
    ] = None,
    own_window: Annotated[
        bool,
        Flag(
            "--own-window",
            help="Let sliding keep the model's window instead of as many tokens as worldkv.",
            rich_help_panel=_GRID,
        ),
    ] = False,
    one_layer: Annotated[
        bool,
        Flag(
            "--one-layer",
            help="Let all layers share one layer's keys and values, to time modes that do not fit.",
            rich_help_panel=_GRID,
        ),
    ] = False,
    model: Annotated[
        str, Flag(metavar="NAME", help="Model, see worldkv models list.", rich_help_panel=_MODEL)
    ] = "mini",
    checkpoint: Annotated[
        Path | None, Flag(metavar="DIR", help="Folder of the model's files.", rich_help_panel=_MODEL)
    ] = None,
    random_weights: Annotated[
        bool,
        Flag("--random-weights", help="Make up network and codec: no download.", rich_help_panel=_MODEL),
    ] = False,
    scale: Annotated[
        float,
        Flag(
            help="Share of width, depth and picture, with --random-weights; 0.1 runs anywhere.",
            rich_help_panel=_MODEL,
        ),
    ] = 1.0,
    size: Annotated[
        str | None, Flag(metavar="WxH", help="Size of the video.", rich_help_panel=_MODEL)
    ] = None,
    traj: Annotated[
        str,
        Flag(metavar="NAME|FILE", help="Trajectory, repeated as long as it takes.", rich_help_panel=_MODEL),
    ] = "loop",
    strategy: Annotated[
        str | None,
        Flag(metavar="NAME", help="rays, coverage or pose, for worldkv.", rich_help_panel=_MODEL),
    ] = None,
    retrieve: Annotated[
        float | None, Flag(help="Retrieved tokens in chunks' worth, for worldkv.", rich_help_panel=_MODEL)
    ] = None,
    keep_ratio: Annotated[
        float | None, Flag(help="Share of the non-anchor tokens kept.", rich_help_panel=_MODEL)
    ] = None,
    weights: Annotated[
        str | None,
        Flag(metavar="HOW", help="resident, streamed, int8 or fp8.", rich_help_panel=_MODEL),
    ] = None,
    device: Annotated[
        str | None, Flag(metavar="NAME", help="auto, cpu, cuda, cuda:1, mps.", rich_help_panel=_WHERE)
    ] = None,
    dtype: Annotated[
        str | None,
        Flag(metavar="NAME", help="auto, float32, bfloat16 or float16.", rich_help_panel=_WHERE),
    ] = None,
    out: Annotated[
        Path | None,
        Flag(
            metavar="DIR",
            help="Folder of the results (default runs/profile-<model>-<time>).",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    trace: Annotated[
        str | None,
        Flag(metavar="LIST", help="Write torch profiler traces of these chunks.", rich_help_panel=_WHERE),
    ] = None,
    recalibrate: Annotated[
        bool,
        Flag(
            "--recalibrate",
            help="Keep this profile's calibration although a longer profile made the one that is there.",
            rich_help_panel=_WHERE,
        ),
    ] = False,
    as_json: Annotated[
        bool, Flag("--json", help="Print the report as one JSON object.", rich_help_panel=_WHERE)
    ] = False,
    quiet: Annotated[bool, Flag("--quiet", "-q", help="No progress.", rich_help_panel=_WHERE)] = False,
) -> None:
    """Measure memory modes against rollout length, and calibrate this machine.

    Modes take turns chunk by chunk, so that a machine that others use, too, slows down all of them alike. It
    writes profile.json, profile.csv and figures, and keeps what it learned for worldkv's predictions of time.
    """
    given = {
        "checkpoint": checkpoint,
        "size": size,
        "strategy": strategy,
        "retrieve": retrieve,
        "keep_ratio": keep_ratio,
        "weights": weights,
        "device": device,
        "dtype": dtype,
    }
    from core.profiling.settings import (
        ProfileSettings,
        default_lengths,
        parse_budgets,
        parse_counts,
        parse_modes,
    )

    settings = ProfileSettings(
        model=model,
        modes=parse_modes(modes),
        lengths=default_lengths(model) if chunks is None else parse_counts(chunks, where="--chunks"),
        budgets=parse_budgets(vram_budget),
        repeats=repeats,
        random_weights=random_weights,
        scale=scale,
        every_chunk=model == "mini" if every_chunk is None else every_chunk,
        own_window=own_window,
        one_layer=one_layer,
        traj=traj,
        trace=() if trace is None else parse_counts(trace, where="--trace"),
        settings={key: value for key, value in given.items() if value is not None},
    )
    _run(settings, out, recalibrate=recalibrate, as_json=as_json, quiet=quiet)


def _run(
    settings: ProfileSettings, out: Path | None, *, recalibrate: bool, as_json: bool, quiet: bool
) -> None:
    """Measure, write, print."""
    from core.interrupt import stop_on_signal
    from core.profiling.output import open_folder
    from core.profiling.run import Watch, run_profile

    with open_folder(out, settings) as folder, stop_on_signal() as stop:
        with profile_progress(quiet=quiet or as_json) as display:
            watch = Watch(display.loading, display.chunk, display.step)
            outcome = run_profile(
                settings, os.environ, watch=watch, stop=lambda: bool(stop), traces=folder.path
            )
        left = _leave(outcome, folder.path, recalibrate=recalibrate)
    report = outcome.report
    if as_json:
        print_json({"folder": str(folder.path), **report.model_dump(mode="json")})
    else:
        print_report(report, left)
    if report.status == "interrupted":
        done = sum(len(cell.chunks) for cell in report.cells)
        raise KeyboardInterrupt(f"{done} chunks are in {folder.path / 'profile.json'}")


def _leave(outcome: Outcome, folder: Path, *, recalibrate: bool) -> list[Path]:
    """Write files and figures, and keep the calibration; returns what there is to look at."""
    from core.calibration import age, keep_better
    from core.profiling.output import write_report
    from core.profiling.plots import EXTRA_HINT, can_plot, write_plots

    left = write_report(outcome.report, folder)
    if not any(cell.lengths for cell in outcome.report.cells):
        return left
    if can_plot():
        left += [path for path in write_plots(outcome.report, folder) if path.suffix == ".png"]
    else:
        print_warning(f"no figures without matplotlib: {EXTRA_HINT}")
    if outcome.calibration is not None and outcome.report.status == "done":
        kept = keep_better(outcome.calibration, anew=recalibrate)
        if kept.reason:
            ours = kept.calibration
            print_warning(
                f"the calibration of {ours.made_at:%Y-%m-%d} ({age(ours.made_at)} old) stays, {kept.reason}: "
                f"{kept.path} (--recalibrate replaces it)"
            )
        left += [kept.path] if kept.path is not None else []
    return left
