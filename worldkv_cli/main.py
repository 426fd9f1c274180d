"""The `worldkv` command. Nothing here imports torch: `worldkv --help` answers at once."""

from __future__ import annotations

from importlib import metadata
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from worldkv_cli.commands import batch, bench, doctor, eval, generate, models, plan, profile, report, traj
from worldkv_cli.console import guard, set_up_logging


class GuardedGroup(TyperGroup):
    """Every command, present and future, ends with our errors and exit codes."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - a click context; typer brings its own click or the real one
        """Run the chosen command."""
        with guard():
            return super().invoke(ctx)


app = typer.Typer(
    name="worldkv",
    cls=GuardedGroup,
    help="Long videos of worlds that remember, from scripted camera paths.",
    epilog="Exit codes: 0 done, 1 failed, 2 bad input, 3 over budget, 4 no model files, 130 interrupted.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"worldkv {metadata.version('worldkv')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[  # noqa: ARG001 - the callback answers it
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Prepare what all commands need."""
    set_up_logging()


generate.register(app)
plan.register(app)
profile.register(app)
bench.register(app)
eval.register(app)
report.register(app)
app.add_typer(traj.app, name="traj")
app.add_typer(models.app, name="models")
app.add_typer(batch.app, name="batch")
doctor.register(app)


def run() -> None:
    """Entry point of the console script."""
    app(prog_name="worldkv")
