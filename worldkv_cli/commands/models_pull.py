"""`worldkv models pull`: fetch a model's files."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import InputError
from worldkv_cli.console import human_bytes, print_json

if TYPE_CHECKING:
    from core.models.downloads import Part
    from core.models.hub import Pull


class Layout(StrEnum):
    """How files are laid out: as the authors' scripts expect, or as diffusers does."""

    RAW = "raw"
    DIFFUSERS = "diffusers"


def register(app: typer.Typer) -> None:
    """Add the command to `worldkv models`."""
    app.command("pull")(pull_command)


def pull_command(
    model: Annotated[str, typer.Argument(help="The model, see worldkv models list.", metavar="MODEL")],
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            help="Folder for this model (default: the first of WORLDKV_CHECKPOINTS, or the hub's cache).",
            metavar="DIR",
        ),
    ] = None,
    layout: Annotated[
        Layout | None, typer.Option("--layout", help="Which release of the files (default raw).")
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            "--part",
            help="Only these parts, separated by commas (default: all that the usual variant needs).",
            metavar="NAME,...",
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", help="Branch, tag or commit of the repository.", metavar="REV")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be fetched, and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fetch a model's files from the Hugging Face hub.

    An interrupted fetch goes on where it stopped. Files that are there with the right size stay as they are.
    """
    from core.models.catalog import find_download
    from core.models.hub import plan_pull

    download = find_download(model, None if layout is None else layout.value)
    names = [name.strip() for each in part for name in each.split(",") if name.strip()] if part else None
    pull = plan_pull(download, parts=names, to=to, revision=revision)
    if dry_run:
        _print_result(pull, as_json=as_json, dry_run=True)
        return
    pull.check_space()
    asks = bool(pull.missing_bytes) and not yes
    if asks and not (sys.stdin.isatty() and sys.stderr.isatty()):
        size = human_bytes(pull.missing_bytes)
        raise InputError(f"nobody can be asked whether to fetch {size}", where="--yes", hint="add --yes")
    if asks or not as_json:
        _print_plan(pull, err=True)
    if asks and not _agrees():
        typer.echo("nothing was fetched", err=True)
        raise typer.Exit(1)
    _fetch(pull)
    _print_result(pull, as_json=as_json, dry_run=False)
    if not as_json:
        _print_next(pull, to)


def _agrees() -> bool:
    try:
        return typer.confirm("fetch?", default=True, err=True)
    except typer.Abort:
        raise KeyboardInterrupt("nothing was fetched") from None


def _fetch(pull: Pull) -> None:
    from core.models.hub_fetch import fetch

    here_bytes = pull.total_bytes - pull.missing_bytes

    def note(num_bytes: int) -> None:
        nonlocal here_bytes
        here_bytes = num_bytes
        show(num_bytes)

    try:
        with _progress(pull) as show:
            fetch(pull, on_progress=note)
    except KeyboardInterrupt:
        have = f"{human_bytes(here_bytes)} of {human_bytes(pull.total_bytes)} are in {pull.place.root}"
        raise KeyboardInterrupt(f"{have}; the same command goes on from there") from None


@contextmanager
def _progress(pull: Pull) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, nothing elsewhere."""
    if not pull.missing_bytes or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(bar_width=32), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True, highlight=False)) as bars:
        task = bars.add_task("", total=pull.total_bytes, completed=pull.total_bytes - pull.missing_bytes)
        yield lambda num_bytes: bars.update(task, completed=num_bytes)


def _print_plan(pull: Pull, *, err: bool) -> None:
    """Parts, sizes, licences, destination."""
    typer.echo(f"{pull.download.model}, {pull.download.layout} layout, from {pull.endpoint}", err=err)
    for part in pull.parts:
        told = _part(pull, part)
        size, left = human_bytes(told["bytes"]), human_bytes(told["fetch_bytes"])
        files = f"{len(told['files'])} file{'s' * (len(told['files']) != 1)}"
        state = "here" if told["fetch_bytes"] == 0 else f"{left} to fetch"
        typer.echo(f"  {part.name:13} {size:>7}  {files:8}  {state:16}  {part.repo}", err=err)
        typer.echo(f"  {'':13} licence: {part.licence}", err=err)
    for part in _unasked(pull):
        size = human_bytes(part.approx_bytes)
        typer.echo(f"  {part.name:13} {size:>7}  not asked for: --part {part.name}", err=err)
    missing = f"{human_bytes(pull.missing_bytes)} to fetch" if pull.missing_bytes else "nothing to fetch"
    typer.echo(f"{missing} into {pull.place.root}, {human_bytes(pull.free_bytes)} free", err=err)


def _print_result(pull: Pull, *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        print_json(
            {
                "model": pull.download.model,
                "layout": pull.download.layout,
                "endpoint": pull.endpoint,
                "revision": pull.revision,
                "folder": str(pull.place.root),
                "dry_run": dry_run,
                "total_bytes": pull.total_bytes,
                "fetch_bytes": pull.missing_bytes,
                "free_bytes": pull.free_bytes,
                "parts": [_part(pull, part) for part in pull.parts],
                "unasked_parts": [part.name for part in _unasked(pull)],
            }
        )
    elif dry_run:
        _print_plan(pull, err=False)
    else:
        names = ", ".join(part.name for part in pull.parts)
        typer.echo(f"{pull.download.model}: {human_bytes(pull.total_bytes)} in {pull.place.root} ({names})")


def _unasked(pull: Pull) -> tuple[Part, ...]:
    """Parts of other variants, for those who named no part and may not know of them."""
    if pull.parts != pull.download.usual:
        return ()
    return tuple(part for part in pull.download.parts if part not in pull.parts)


def _part(pull: Pull, part: Part) -> dict[str, Any]:
    """A part as `--json` tells it; `fetch_bytes` is what this call fetches, or would fetch."""
    files = pull.of_part(part)
    return {
        "name": part.name,
        "repo": part.repo,
        "licence": part.licence,
        "folder": str(pull.place.folder(part)),
        "bytes": sum(file.remote.size_bytes for file in files),
        "fetch_bytes": sum(file.missing_bytes for file in files),
        "files": [
            {"path": file.remote.path, "bytes": file.remote.size_bytes, "fetch_bytes": file.missing_bytes}
            for file in files
        ],
    }


def _print_next(pull: Pull, to: Path | None) -> None:
    fetched = [part.variant for part in pull.parts if part.variant]
    unusual = bool(fetched) and pull.download.variants[0] not in fetched
    variant = f" --variant {fetched[0]}" if unusual else ""
    where = "" if to is None else f" --checkpoint {shlex.quote(str(to))}"
    typer.echo(f"look inside: worldkv models check {pull.download.model}{variant}{where}", err=True)
