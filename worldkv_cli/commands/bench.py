"""`worldkv bench`: memory settings against each other on the embedded model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worldkv_cli.bench_progress import bench_progress
from worldkv_cli.bench_table import print_bench
from worldkv_cli.console import print_json, print_warning

if TYPE_CHECKING:
    from core.bench.suite import Suite
    from core.schemas.bench import BenchReport

Flag = typer.Option
_WHAT, _WHERE = "What is compared", "Where it runs and what comes out"


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("bench")(bench)


def bench(
    suite: Annotated[
        str,
        Flag(metavar="NAME|FILE", help="full, quick, or a YAML file of one's own.", rich_help_panel=_WHAT),
    ] = "full",
    quick: Annotated[
        bool, Flag("--quick", help="The suite quick: two minutes on two cores.", rich_help_panel=_WHAT)
    ] = False,
    only: Annotated[
        list[str] | None,
        Flag(metavar="GLOB", help="Only the families of this name; may be repeated.", rich_help_panel=_WHAT),
    ] = None,
    worlds: Annotated[
        int | None,
        Flag(
            min=1, metavar="N", help="Worlds of every setting (default: the suite's).", rich_help_panel=_WHAT
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        Flag(
            min=1,
            metavar="N",
            help="Processes of one thread each (default: one for each core).",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        Flag(
            metavar="DIR",
            help="Folder of the results, where a bench goes on (default runs/bench-<suite>-<time>).",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    as_json: Annotated[
        bool, Flag("--json", help="Print the report as one JSON object.", rich_help_panel=_WHERE)
    ] = False,
    quiet: Annotated[bool, Flag("--quiet", "-q", help="No progress.", rich_help_panel=_WHERE)] = False,
) -> None:
    """Compare strategies, sizes, pruning, positions and precisions in held-out worlds, with intervals.

    Every setting plays the same scripts in the same worlds with the same noise. What is finished is kept cell
    by cell: after Ctrl-C, the same command with the same --out goes on; with --only, what the folder tells of
    other families of the suite is kept. It writes bench.json, bench.csv, table.md and figures.
    """
    from core.bench.suite import load_suite
    from core.errors import InputError

    if quick and suite != "full":
        raise InputError("--quick is a suite of its own", where="--suite", hint="leave out one of the two")
    name = "quick" if quick else suite
    whole = load_suite(name, worlds=worlds)
    chosen = whole.only(only or [])
    settings = {"suite": name if name != "full" else None, "worlds": worlds, "out": out}
    words = [f"--{key} {value}" for key, value in settings.items() if value is not None]
    _run(whole, chosen, out, jobs, " ".join(["worldkv bench", *words]), as_json=as_json, quiet=quiet)


def _run(
    whole: Suite,
    chosen: Suite,
    out: Path | None,
    jobs: int | None,
    command: str,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Play what is missing of the chosen families; tell of them and of those that the folder told before."""
    from core.bench.output import open_folder, told_families
    from core.bench.run import available_cores, finished, run_suite, weights_hash
    from core.bench.summary import summarise
    from core.interrupt import stop_on_signal

    with open_folder(out, whole.name) as (folder, cells), stop_on_signal() as stop:
        told = whole.also(chosen, told_families(folder, whole))
        with bench_progress(quiet=quiet or as_json) as display:
            done = run_suite(
                chosen, cells, jobs=jobs or available_cores(), told=display.told, stop=lambda: bool(stop)
            )
        if told != whole:
            command += "".join(f" --only {family.name}" for family in told.families)
        report = summarise(told, finished(told, cells.cells, weights_hash()), command=command)
        left = _leave(report, folder)
    if as_json:
        print_json({"folder": str(folder), **report.model_dump(mode="json")})
    else:
        print_bench(report, left)
    if len(done) < len(chosen.tasks()):
        kept = f"{len(done)} of {len(chosen.tasks())} cells are in {folder}"
        raise KeyboardInterrupt(f"{kept}; --out {folder} goes on")


def _leave(report: BenchReport, folder: Path) -> list[Path]:
    """Write files and figures; returns what there is to look at."""
    from core.bench.output import write_report
    from core.bench.plots import write_plots
    from core.profiling.plots import EXTRA_HINT, can_plot

    left = write_report(report, folder)
    if not report.rows:
        return left
    if not can_plot():
        print_warning(f"no figures without matplotlib: {EXTRA_HINT}")
        return left
    return left + [path for path in write_plots(report, folder) if path.suffix == ".png"]
