"""`worldkv models`: which models there are."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from worldkv_cli.console import print_json

app = typer.Typer(help="The models and their files.", no_args_is_help=True)


@app.callback()
def models() -> None:
    """The models and their files."""


@app.command("list")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the models that `generate --model` takes."""
    from core.models.registry import list_models as known

    if as_json:
        print_json({"models": [asdict(entry) for entry in known()]})
        return
    for entry in known():
        typer.echo(f"{entry.name:12} {entry.description}")
