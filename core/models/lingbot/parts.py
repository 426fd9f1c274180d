"""A checkpoint as a run uses it: every part found and known by its headers, nothing read yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from core.errors import ModelFilesError
from core.models.checkpoint.locate import FLAG_SOURCE
from core.models.lingbot.files import LingBotFiles, find_files, lingbot_downloads
from core.models.lingbot.sizes import LingBotSizes
from core.models.lingbot.transformer import TransformerFiles, open_transformer
from core.models.wan.text_config import TextConfig
from core.models.wan.text_files import TextFiles, check_text_files, open_text_weights
from core.models.wan.text_tokens import EXTRA_HINT
from core.models.wan.vae_files import VaeFiles, check_vae_files

_PACKAGES: Mapping[str, str] = MappingProxyType(
    {"diffusers": "the codec", "transformers": "the text encoder", "ftfy": "the prompt"}
)
"""Optional packages that a run imports once it has begun, and what for."""


@dataclass(frozen=True, eq=False)
class LingBotParts:
    """All that a run loads.

    Attributes:
        files: Where everything lies.
        transformer: The network's weights.
        vae_path: File or folder of the codec.
        vae: What it holds.
        text: Text encoder and tokenizer.
        text_config: Sizes of the text encoder.
    """

    files: LingBotFiles
    transformer: TransformerFiles
    vae_path: Path
    vae: VaeFiles
    text: TextFiles
    text_config: TextConfig

    @property
    def sizes(self) -> LingBotSizes:
        """Sizes of what decides how much memory a run takes."""
        return LingBotSizes(network=self.transformer.config, vae=self.vae.config, text=self.text_config)

    def check(self) -> None:
        """Look for the packages that read the files, and read the tokenizer, which takes a second.

        Raises:
            ModelFilesError: A package is missing, or the tokenizer is damaged or of another encoder.
        """
        for name, user in _PACKAGES.items():
            if find_spec(name) is None:
                raise ModelFilesError(f"{user} needs the package {name}", where=name, hint=EXTRA_HINT)
        check_text_files(self.text)


def open_parts(model: str, checkpoint: Path | None) -> LingBotParts:
    """Find a checkpoint and look at its headers.

    Raises:
        ModelFilesError: A part is missing or damaged, or they do not belong together.
    """
    if checkpoint is not None and not checkpoint.expanduser().exists():
        raise ModelFilesError(
            "the checkpoint's folder does not exist",
            where=f"{FLAG_SOURCE} {checkpoint}",
            hint=f"check the path, or fetch it: {lingbot_downloads(model)[0].command}",
        )
    files = find_files(model, checkpoint)
    vae_path = _required("vae", files.vae, files)
    text_path = _required("text_encoder", files.text_encoder, files)
    text = TextFiles(text_path, _required("tokenizer", files.tokenizer, files))
    transformer, vae = open_transformer(files.transformer), check_vae_files(vae_path)
    channels = transformer.config.out_channels
    if vae.config.z_dim != channels:
        problem = f"the codec's latents have {vae.config.z_dim} channels, the transformer's {channels}"
        raise _strangers(problem, vae_path)
    encoder = open_text_weights(text_path).config
    if encoder.dim != transformer.config.text_dim:
        wanted = transformer.config.text_dim
        raise _strangers(
            f"the text encoder's tokens are {encoder.dim} wide, the transformer takes {wanted}", text_path
        )
    return LingBotParts(files, transformer, vae_path, vae, text, encoder)


def _strangers(problem: str, path: Path) -> ModelFilesError:
    return ModelFilesError(problem, where=str(path), hint="are both of one model? see: worldkv models check")


def _required(part: str, path: Path | None, files: LingBotFiles) -> Path:
    if path is not None:
        return path
    layout = "diffusers" if files.layout == "diffusers" else "raw"
    command = next(each.command for each in lingbot_downloads(files.model) if each.layout == layout)
    raise ModelFilesError(
        f"the {part.replace('_', ' ')} of {files.model} was not found",
        where=f"beside {files.transformer}",
        hint=f"{command} --part {part}",
    )
