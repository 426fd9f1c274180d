"""What is known of a model's files before one is read: a report for each part, and words for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from core.errors import ModelFilesError
from core.models.checkpoint.shards import Weights
from core.models.downloads import Download
from core.models.wan.config import WanConfig
from core.models.wan.text_tokens import EXTRA_HINT
from core.models.wan.vae_files import check_vae_files

Status = Literal["ok", "missing", "broken"]


@dataclass(frozen=True)
class Contents:
    """What a part's files hold.

    Attributes:
        num_files: Files.
        num_bytes: Their bytes.
        num_tensors: Tensors in them; None if they hold something else.
        num_parameters: Elements of these tensors.
        dtypes: Their element types on disk, the one with the most bytes first.
    """

    num_files: int
    num_bytes: int
    num_tensors: int | None = None
    num_parameters: int | None = None
    dtypes: tuple[str, ...] = ()

    @classmethod
    def of(cls, weights: Weights) -> Contents:
        """What files of tensors hold."""
        return cls(
            num_files=len(weights.files),
            num_bytes=weights.num_bytes,
            num_tensors=len(weights.tensors),
            num_parameters=weights.num_parameters,
            dtypes=weights.dtypes,
        )


@dataclass(frozen=True, kw_only=True)
class PartReport:
    """What is known of a part.

    Attributes:
        name: The word for it.
        status: Whether it is there, whole and of the right shapes.
        path: Where it is.
        licence: What is known of its licence.
        command: What fetches it.
        contents: What it holds; None unless it is whole.
        problem: What is wrong.
        where: The file at fault.
        hint: How to mend it.
    """

    name: str
    status: Status
    path: Path | None
    licence: str
    command: str
    contents: Contents | None = None
    problem: str = ""
    where: str = ""
    hint: str = ""

    def with_error(self, error: ModelFilesError) -> PartReport:
        """The same with what an error says."""
        return replace(self, problem=error.problem, where=error.where, hint=error.hint)


@dataclass(frozen=True)
class CheckReport:
    """What is known of a model's files.

    Attributes:
        model: The model's name.
        layout: How they are laid out; None without a transformer.
        source: Why this transformer was taken; None without one.
        parts: All that a run needs.
        config: The network's sizes; None if they cannot be told.
        variant: Which of the model's networks was looked at; None if it has only one.
    """

    model: str
    layout: str | None
    source: str | None
    parts: tuple[PartReport, ...]
    config: WanConfig | None
    variant: str | None = None

    @property
    def ok(self) -> bool:
        """Whether a run could start."""
        return all(part.status == "ok" for part in self.parts)


def look(
    name: str,
    path: Path | None,
    contents: Callable[[Path], Contents],
    download: Download,
    *,
    part_name: str | None = None,
) -> PartReport:
    """Look at one part; what is wrong with it becomes part of its report.

    Args:
        name: The word for it.
        path: Where it is; None if it was not found.
        contents: Looks inside.
        download: What would have brought it.
        part_name: What it is called there, if not by its name.
    """
    (part,) = download.select([part_name or name])
    command = f"{download.command} --part {part.name}"
    report = PartReport(name=name, status="missing", path=path, licence=part.licence, command=command)
    if path is None:
        return replace(report, problem="nothing was found", hint=command)
    try:
        return replace(report, status="ok", contents=contents(path))
    except ModelFilesError as error:
        broken = replace(report, status="broken").with_error(error)
        return replace(broken, hint=error.hint or command)


def vae_contents(path: Path, network: WanConfig | None) -> Contents:
    """Look inside a codec.

    Args:
        path: File or folder.
        network: What takes its latents; None if that is not known.

    Raises:
        ModelFilesError: It is broken, or not the network's, or its package is missing.
    """
    files = check_vae_files(path)
    if network is not None and files.config.z_dim != network.out_channels:
        problem = f"its latents have {files.config.z_dim} channels, "
        raise ModelFilesError(f"{problem}those of the transformer {network.out_channels}", where=str(path))
    need_package("diffusers")
    return Contents.of(files.weights)


def need_package(name: str) -> None:
    """Look for a package that reads a part; it is not imported.

    Raises:
        ModelFilesError: It is not installed.
    """
    if find_spec(name) is None:
        raise ModelFilesError(f"it needs the package {name}", where=name, hint=EXTRA_HINT)
