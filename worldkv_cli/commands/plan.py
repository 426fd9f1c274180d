"""`worldkv plan`: what a rollout will remember, what it will cost, and whether it fits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from worldkv_cli.commands.generate import generate
from worldkv_cli.console import print_json
from worldkv_cli.shared_options import with_settings_of

_PLAN = "What is shown of the plan"
_UNUSED = frozenset({"out", "overwrite", "scale", "quiet", "seed"})
"""Settings of a run that change nothing of its plan."""

EXIT_OVER_BUDGET = 3


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("plan")(plan)


@with_settings_of(generate, without=_UNUSED)
def plan(
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw memory over time and who is recalled by whom (.png or .svg).",
            rich_help_panel=_PLAN,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Settings file; flags win over it.", rich_help_panel=_PLAN),
    ] = None,
    as_json: Annotated[
        bool | None, typer.Option("--json", help="Print the plan as one JSON object.", rich_help_panel=_PLAN)
    ] = None,
    **settings: Any,  # noqa: ANN401 - the options of generate
) -> None:
    """Plan a video without making it: no weights, picture, prompt or GPU are needed.

    The settings are those of worldkv generate. Say what a GPU has with --vram-budget, and a large model is
    planned for it wherever you are. Exit code 3: it does not fit, and here is what does.
    """
    from core.config import resolve

    resolved = resolve({**settings, "as_json": as_json}, os.environ, config)
    from core.forecast.make import foretell
    from core.forecast.plot import check_plot, draw_plot

    if plot is not None:
        check_plot(plot)
    told = foretell(resolved)
    if plot is not None:
        draw_plot(told, plot)
    if resolved.config.as_json:
        print_json(told.forecast.model_dump(mode="json"))
    else:
        from worldkv_cli.plan_report import print_report

        print_report(told.forecast)
        if plot is not None:
            typer.echo(f"plot written to {plot}", err=True)
    if not told.forecast.fits:
        raise typer.Exit(EXIT_OVER_BUDGET)
