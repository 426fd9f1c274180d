"""A checkpoint as a run uses it: every part found and known by its headers, nothing read yet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.errors import ModelFilesError
from core.models.lingbot.files import LingBotFiles, find_files, lingbot_downloads
from core.models.lingbot.transformer import TransformerFiles, open_transformer
from core.models.wan.text_config import TextConfig
from core.models.wan.text_files import TextFiles, check_text_files, open_text_weights
from core.models.wan.vae_files import VaeFiles, check_vae_files


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

    def check_tokenizer(self) -> None:
        """Read the tokenizer, which takes a second.

        Raises:
            ModelFilesError: It is damaged or of another encoder.
        """
        check_text_files(self.text)


def open_parts(model: str, checkpoint: Path | None) -> LingBotParts:
    """Find a checkpoint and look at its headers.

    Raises:
        ModelFilesError: A part is missing or damaged, or they do not belong together.
    """
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
    command = lingbot_downloads(files.model)[0].command
    raise ModelFilesError(
        f"the {part.replace('_', ' ')} of {files.model} was not found",
        where=f"beside {files.transformer}",
        hint=f"{command} --part {part}",
    )
