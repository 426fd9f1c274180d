"""`worldkv models`: which models there are, and where their files are."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from worldkv_cli.commands import models_check, models_pull
from worldkv_cli.console import guard, human_bytes, print_json

if TYPE_CHECKING:
    from core.models.registry import ModelEntry

app = typer.Typer(help="The models and their files.", no_args_is_help=True)


@dataclass(frozen=True)
class Files:
    """Where a model's files are.

    Attributes:
        where: Part of this package, found on the disk, found in part, or nowhere.
        path: Folder or file of the transformer, if found.
        source: Why that was found: the variable, or the cache.
        missing: Parts that were not found.
        command: What fetches them.
        approx_bytes: Size of all that the usual variant needs, roughly.
        variants: Variants whose network was found, of those that the model has.
    """

    where: Literal["package", "found", "incomplete", "missing"]
    path: str | None = None
    source: str | None = None
    missing: tuple[str, ...] = ()
    command: str | None = None
    approx_bytes: int | None = None
    variants: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """One line for people."""
        if self.where == "package":
            return "in the package"
        if self.where == "missing":
            return f"not here; {human_bytes(self.approx_bytes or 0)}: {self.command}"
        found = f"{self.path} ({', '.join(filter(None, (self.source, *self.variants)))})"
        lacking = ", ".join(self.missing)
        return found if self.where == "found" else f"{found}, without {lacking}: {self.command}"


@app.callback()
def models() -> None:
    """The models and their files."""


@app.command("list")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the models that `generate --model` takes, and where their files are."""
    from core.models.registry import list_models as known

    with guard():
        entries = [(entry, files_of(entry)) for entry in known()]
    if as_json:
        print_json({"models": [{**asdict(entry), "files": asdict(files)} for entry, files in entries]})
        return
    for entry, files in entries:
        typer.echo(f"{entry.name:12} {entry.description}")
        typer.echo(f"{'':12} files: {files.text}")


def files_of(entry: ModelEntry) -> Files:
    """Where a model's files are. Looks at names only; `worldkv models check` looks inside."""
    from core.errors import ModelFilesError
    from core.models.catalog import downloads_of
    from core.models.model_files import FoundFiles, find_model_files

    downloads = downloads_of(entry.name)
    if not downloads:
        return Files("package")
    download = downloads[0]
    found: dict[str, FoundFiles] = {}
    for variant in download.variants or ("",):
        with suppress(ModelFilesError):
            found[variant] = find_model_files(entry.name, variant or None)
    if not found:
        parts = tuple(part.name for part in download.usual)
        return Files("missing", missing=parts, command=download.command, approx_bytes=download.approx_bytes)
    first = next(iter(found.values()))
    command = download.command
    if first.missing:
        command = f"{command} --part {','.join(first.missing)}"
    return Files(
        "incomplete" if first.missing else "found",
        path=str(first.transformer),
        source=first.source,
        missing=first.missing,
        command=command,
        approx_bytes=download.approx_bytes,
        variants=tuple(filter(None, found)),
    )


models_pull.register(app)
models_check.register(app)
