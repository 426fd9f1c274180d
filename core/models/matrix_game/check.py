"""Could a run start with these files? Looked up part by part, from headers alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from core.errors import ModelFilesError
from core.models.check_report import CheckReport, Contents, look, need_package, vae_contents
from core.models.matrix_game.catalog import MATRIX_GAME
from core.models.matrix_game.config import DEFAULT_VARIANT, MODEL, Variant, find_variant
from core.models.matrix_game.files import Companions, MatrixGameFiles, find_companions, find_files
from core.models.matrix_game.transformer import open_transformer
from core.models.wan.clip_files import check_clip_files
from core.models.wan.config import WanConfig


def check_files(
    variant: str = DEFAULT_VARIANT, checkpoint: Path | None = None, env: Mapping[str, str] = os.environ
) -> CheckReport:
    """Look at every part of a variant, whatever is wrong with the others.

    Args:
        variant: Name of the variant.
        checkpoint: What `--checkpoint` says.
        env: The environment.

    Raises:
        InputError: There is no such variant.
    """
    wanted = find_variant(variant)
    files: MatrixGameFiles | None = None
    lost: ModelFilesError | None = None
    try:
        files = find_files(variant, checkpoint, env)
        beside = Companions(files.vae, files.clip)
    except ModelFilesError as error:
        lost, beside = error, find_companions(checkpoint, env)
    looker = _Looker(wanted)
    path = files.transformer if files else None
    transformer = look("transformer", path, looker.transformer, MATRIX_GAME, part_name=wanted.name)
    if lost is not None:
        transformer = transformer.with_error(lost)
    parts = (
        transformer,
        look("vae", beside.vae, looker.vae, MATRIX_GAME),
        look("clip", beside.clip, looker.clip, MATRIX_GAME),
    )
    layout, source = (files.layout, files.source) if files else (None, None)
    return CheckReport(MODEL, layout, source, parts, looker.network, variant=wanted.name)


class _Looker:
    """Looks at one part after the other; what one part tells about another is remembered."""

    def __init__(self, variant: Variant) -> None:
        self._variant = variant
        self.network: WanConfig | None = None

    def transformer(self, path: Path) -> Contents:
        """The network; tensors that it has no use for count too."""
        files = open_transformer(path, self._variant)
        self.network = files.config
        return Contents.of(files.stored)

    def vae(self, path: Path) -> Contents:
        """The codec."""
        return vae_contents(path, self.network)

    def clip(self, path: Path) -> Contents:
        """The image encoder, without the text tower that lies in the same file."""
        files = check_clip_files(path)
        if self.network is not None and files.config.dim != self.network.image_dim:
            raise ModelFilesError(
                f"it gives {files.config.dim} numbers a token, "
                f"but the transformer takes {self.network.image_dim}",
                where=str(path),
            )
        need_package("transformers")
        return Contents.of(files.weights)
