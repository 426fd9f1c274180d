"""Could a run start with these files? Looked up part by part, from headers alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from core.errors import ModelFilesError
from core.models.check_report import CheckReport, Contents, PartReport, look, need_package, vae_contents
from core.models.downloads import Download
from core.models.lingbot.files import Companions, LingBotFiles, find_companions, find_files, lingbot_downloads
from core.models.lingbot.transformer import open_transformer
from core.models.wan.config import WanConfig
from core.models.wan.text_config import TextConfig
from core.models.wan.text_files import check_vocabulary, open_text_weights
from core.models.wan.text_tokens import load_tokenizer


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
        transformer = transformer.with_error(lost)
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
        return look(name, path, contents, self._download)

    def transformer(self, path: Path) -> Contents:
        """The network."""
        files = open_transformer(path)
        self.network = files.config
        return Contents.of(files.weights)

    def vae(self, path: Path) -> Contents:
        """The codec."""
        return vae_contents(path, self.network)

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
        need_package("transformers")
        return Contents.of(files.stored)

    def tokenizer(self, path: Path) -> Contents:
        """The tokenizer, which is small: it is loaded."""
        tokenizer = load_tokenizer(path)
        if self._text is not None:
            check_vocabulary(tokenizer, self._text, where=path)
        sizes = [file.stat().st_size for file in path.iterdir() if file.is_file()]
        return Contents(num_files=len(sizes), num_bytes=sum(sizes))
