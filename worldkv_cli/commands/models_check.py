"""`worldkv models check`: are a model's files there and whole? Reads headers only."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import ModelFilesError
from worldkv_cli.console import human_bytes, print_error, print_json

if TYPE_CHECKING:
    from core.models.check_report import CheckReport, PartReport
    from core.models.wan.config import WanConfig

_HEADER = ("PART", "STATE", "FILES", "SIZE", "TENSORS", "PARAMETERS", "ON DISK", "WHERE")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("check")(check)


def check(
    model: Annotated[str, typer.Argument(metavar="NAME", help="lingbot, lingbot-v2 or matrix-game.")],
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Its folder (default: WORLDKV_CHECKPOINTS, the Hugging Face cache)."
        ),
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Of matrix-game: universal (default), gta_drive or templerun.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check whether a model's files are there, whole and of the right shapes; exit with 4 if not.

    Only headers are read: it takes seconds, however large the files are.
    """
    from core.models.model_files import check_model_files

    report = check_model_files(model, variant, checkpoint)
    if as_json:
        print_json(_as_dict(report))
    else:
        _print_report(report)
    if not report.ok:
        raise typer.Exit(ModelFilesError.exit_code)


def _as_dict(report: CheckReport) -> dict[str, Any]:
    network = report.config
    sizes = None if network is None else {**asdict(network), "num_parameters": network.num_parameters}
    return {
        "ok": report.ok,
        "model": report.model,
        "variant": report.variant,
        "layout": report.layout,
        "source": report.source,
        "network": sizes,
        "parts": [asdict(part) for part in report.parts],
    }


def _print_report(report: CheckReport) -> None:
    found = f"{report.layout} layout, from {report.source}" if report.source else "no transformer found"
    name = report.model if report.variant is None else f"{report.model} {report.variant}"
    typer.echo(f"{name}: {found}\n")
    rows = [_HEADER, *map(_row, report.parts)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    typer.echo("")
    if report.config is not None:
        typer.echo(f"network: {_network_text(report.config)}")
    for licence in dict.fromkeys(part.licence for part in report.parts):
        names = ", ".join(part.name for part in report.parts if part.licence == licence)
        typer.echo(f"licence: {licence} ({names})")
    if report.ok:
        typer.echo("ready: a run can start with these files")
    for part in report.parts:
        if part.status != "ok":
            problem = f"{part.name}: {part.problem}"
            print_error(ModelFilesError(problem, where=part.where, hint=part.hint))


def _row(part: PartReport) -> tuple[str, ...]:
    where = "-" if part.path is None else str(part.path)
    held = part.contents
    if held is None:
        return (part.name, part.status, "-", "-", "-", "-", "-", where)
    return (
        part.name,
        part.status,
        str(held.num_files),
        human_bytes(held.num_bytes),
        _number(held.num_tensors),
        _number(held.num_parameters),
        ", ".join(held.dtypes) or "-",
        where,
    )


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _network_text(network: WanConfig) -> str:
    told = [
        f"{network.num_layers} blocks of width {network.dim:,}",
        f"{network.num_heads} heads of {network.head_dim}",
        f"feed-forward {network.ffn_dim:,}",
    ]
    if network.text_dim:
        told.append(f"text {network.text_tokens} x {network.text_dim:,}")
    if network.image_dim:
        told.append(f"picture of width {network.image_dim:,}")
    if (actions := network.actions) is not None:
        keys = f"{actions.keyboard_dim} keys and {'a' if actions.mouse else 'no'} mouse"
        told.append(f"{keys} in {len(actions.layers)} blocks")
    return ", ".join((*told, f"{network.in_channels} channels in, {network.out_channels} out"))
