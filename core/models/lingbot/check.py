"""Could a run start with these files? Looked up part by part, from headers alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from core.errors import ModelFilesError
from core.models.checkpoint.shards import Weights
from core.models.downloads import Download
from core.models.lingbot.files import Companions, LingBotFiles, find_companions, find_files, lingbot_downloads
from core.models.lingbot.transformer import open_transformer
from core.models.wan.config import WanConfig
from core.models.wan.text_config import TextConfig
from core.models.wan.text_files import check_vocabulary, open_text_weights
from core.models.wan.text_tokens import EXTRA_HINT, load_tokenizer
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


@dataclass(frozen=True)
class CheckReport:
    """What is known of a model's files.

    Attributes:
        model: The model's name.
        layout: How they are laid out; None without a transformer.
        source: Why this transformer was taken; None without one.
        parts: All that a run needs.
        config: The network's sizes; None if they cannot be told.
    """

    model: str
    layout: str | None
    source: str | None
    parts: tuple[PartReport, ...]
    config: WanConfig | None

    @property
    def ok(self) -> bool:
        """Whether a run could start."""
        return all(part.status == "ok" for part in self.parts)


def check_files(
    model: str, checkpoint: Path | None = None, env: Mapping[str, str] = os.environ
) -> CheckReport:
    """Look at every part of a model, whatever is wrong with the others.

    Args:
        model: "lingbot" or "lingbot-v2".
        checkpoint: What `--checkpoint` says.
        env: The environment.

    Raises:
        InputError: The model has no such files.
    """
    downloads = lingbot_downloads(model)
    files: LingBotFiles | None = None
    lost: ModelFilesError | None = None
    try:
        files = find_files(model, checkpoint, env)
        beside = Companions(files.vae, files.text_encoder, files.tokenizer)
    except ModelFilesError as error:
        lost, beside = error, find_companions(model, checkpoint, env)
    looker = _Looker(_download_of(files, downloads))
    transformer = looker.look("transformer", files.transformer if files else None, looker.transformer)
    if lost is not None:
        transformer = replace(transformer, problem=lost.problem, where=lost.where, hint=lost.hint)
    parts = (
        transformer,
        looker.look("vae", beside.vae, looker.vae),
        looker.look("text_encoder", beside.text_encoder, looker.text_encoder),
        looker.look("tokenizer", beside.tokenizer, looker.tokenizer),
    )
    layout, source = (files.layout, files.source) if files else (None, None)
    return CheckReport(model, layout, source, parts, looker.network)


def _download_of(files: LingBotFiles | None, downloads: tuple[Download, ...]) -> Download:
    """What would have brought these files; the usual way if there are none."""
    layout = "diffusers" if files is not None and files.layout == "diffusers" else "raw"
    return next(download for download in downloads if download.layout == layout)


class _Looker:
    """Looks at one part after the other; what one part tells about another is remembered."""

    def __init__(self, download: Download) -> None:
        self._download = download
        self.network: WanConfig | None = None
        self._text: TextConfig | None = None

    def look(self, name: str, path: Path | None, contents: Callable[[Path], Contents]) -> PartReport:
        """The report of a part."""
        (part,) = self._download.select([name])
        command = f"{self._download.command} --part {name}"
        report = PartReport(name=name, status="missing", path=path, licence=part.licence, command=command)
        if path is None:
            return replace(report, problem="nothing was found", hint=command)
        try:
            return replace(report, status="ok", contents=contents(path))
        except ModelFilesError as error:
            return replace(
                report,
                status="broken",
                problem=error.problem,
                where=error.where,
                hint=error.hint or command,
            )

    def transformer(self, path: Path) -> Contents:
        """The network."""
        files = open_transformer(path)
        self.network = files.config
        return _contents(files.weights)

    def vae(self, path: Path) -> Contents:
        """The codec."""
        files = check_vae_files(path)
        if self.network is not None and files.config.z_dim != self.network.out_channels:
            raise ModelFilesError(
                f"its latents have {files.config.z_dim} channels, "
                f"those of the transformer {self.network.out_channels}",
                where=str(path),
            )
        if find_spec("diffusers") is None:
            raise ModelFilesError("it needs the package diffusers", where="diffusers", hint=EXTRA_HINT)
        return _contents(files.weights)

    def text_encoder(self, path: Path) -> Contents:
        """The text encoder."""
        files = open_text_weights(path)
        self._text = files.config
        if self.network is not None and files.config.dim != self.network.text_dim:
            raise ModelFilesError(
                f"it gives {files.config.dim} numbers a token, "
                f"but the transformer takes {self.network.text_dim}",
                where=str(path),
            )
        if find_spec("transformers") is None:
            raise ModelFilesError("it needs the package transformers", where="transformers", hint=EXTRA_HINT)
        return _contents(files.stored)

    def tokenizer(self, path: Path) -> Contents:
        """The tokenizer, which is small: it is loaded."""
        tokenizer = load_tokenizer(path)
        if self._text is not None:
            check_vocabulary(tokenizer, self._text, where=path)
        sizes = [file.stat().st_size for file in path.iterdir() if file.is_file()]
        return Contents(num_files=len(sizes), num_bytes=sum(sizes))


def _contents(weights: Weights) -> Contents:
    return Contents(
        num_files=len(weights.files),
        num_bytes=weights.num_bytes,
        num_tensors=len(weights.tensors),
        num_parameters=weights.num_parameters,
        dtypes=weights.dtypes,
    )
