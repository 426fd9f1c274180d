"""Where LingBot's files are. Finding them needs no torch and reads no file of weights.

Three layouts are known (R is the folder they begin in):

    raw         R/Wan2.1_VAE.pth, R/models_t5_umt5-xxl-enc-bf16.pth, R/google/umt5-xxl/, R/lingbot_world_fast/
    diffusers   R/transformer/, R/vae/, R/text_encoder/, R/tokenizer/
    v2          R/transformers/; the rest as in raw, in R or in a folder lingbot-world-base-cam beside R
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from core.errors import InputError, ModelFilesError
from core.models.checkpoint.find import first_of, holds, searching
from core.models.checkpoint.locate import FLAG_SOURCE, Root, flag_roots, places_looked, search_roots
from core.models.checkpoint.shards import INDEX_SUFFIX, SAFETENSORS
from core.models.downloads import Download
from core.models.lingbot.catalog import DOWNLOADS

Layout = Literal["raw", "diffusers", "v2"]

BASE_HOME: Final = "lingbot-world-base-cam"
_FAST: Final = "lingbot_world_fast"
_TRANSFORMERS: Final[Mapping[str, tuple[str, ...]]] = {
    "lingbot": (_FAST, f"{BASE_HOME}/{_FAST}", "lingbot-world-fast", "transformer", ""),
    "lingbot-v2": ("transformers", ""),
}
_VAES: Final = ("Wan2.1_VAE.pth", "vae")
_TEXT_ENCODERS: Final = ("models_t5_umt5-xxl-enc-bf16.pth", "text_encoder")
_TOKENIZERS: Final = ("google/umt5-xxl", "tokenizer")
_BASE_EXPERTS: Final = ("high_noise_model", "low_noise_model")
_NAMES: Final = (f"*{INDEX_SUFFIX}", "model-*-of-*.safetensors", "diffusion_pytorch_model*.safetensors")


@dataclass(frozen=True)
class Companions:
    """What a run needs beside the transformer; None where nothing was found.

    Attributes:
        vae: `Wan2.1_VAE.pth`, or a folder of diffusers.
        text_encoder: `models_t5_umt5-xxl-enc-bf16.pth`, or a folder of transformers.
        tokenizer: The tokenizer's folder.
    """

    vae: Path | None
    text_encoder: Path | None
    tokenizer: Path | None


@dataclass(frozen=True)
class LingBotFiles:
    """Where the parts of a checkpoint are; None where nothing was found.

    Attributes:
        model: The model's name.
        layout: How they are laid out.
        source: Why this transformer was taken: the flag, the variable, or the cache.
        transformer: Folder of the network's weights, or a file.
        vae: `Wan2.1_VAE.pth`, or a folder of diffusers.
        text_encoder: `models_t5_umt5-xxl-enc-bf16.pth`, or a folder of transformers.
        tokenizer: The tokenizer's folder.
    """

    model: str
    layout: Layout
    source: str
    transformer: Path
    vae: Path | None
    text_encoder: Path | None
    tokenizer: Path | None


def find_files(
    model: str, checkpoint: Path | None = None, env: Mapping[str, str] = os.environ
) -> LingBotFiles:
    """Look for a model's files.

    The transformer is looked for in `checkpoint` alone if that is given, else in every folder of
    `WORLDKV_CHECKPOINTS`, then in the Hugging Face cache; the other parts beside it first, then wherever a
    transformer would have been looked for. Whether the files are whole is not looked at.

    Args:
        model: "lingbot" or "lingbot-v2".
        checkpoint: What `--checkpoint` says.
        env: The environment.

    Raises:
        InputError: The model has no such files.
        ModelFilesError: There is no transformer; the error says where was looked and what fetches it.
    """
    downloads = lingbot_downloads(model)
    if checkpoint is not None:
        checkpoint = checkpoint.expanduser()
        _refuse_base_expert(checkpoint)
    with searching():
        found = _find_transformer(model, _roots(model, checkpoint, env), given=checkpoint)
    if found is None:
        where = places_looked(env) if checkpoint is None else f"{FLAG_SOURCE} {checkpoint}"
        other = _other_model(model, checkpoint)
        hint = f"this looks like --model {other}" if other else f"{downloads[0].command}, or --checkpoint DIR"
        raise ModelFilesError(f"no transformer of {model} was found", where=where, hint=hint)
    beside = find_companions(model, checkpoint, env, transformer=found.folder)
    return LingBotFiles(
        model=model,
        layout=_layout(model, found.folder),
        source=found.source,
        transformer=found.folder,
        vae=beside.vae,
        text_encoder=beside.text_encoder,
        tokenizer=beside.tokenizer,
    )


def find_companions(
    model: str,
    checkpoint: Path | None = None,
    env: Mapping[str, str] = os.environ,
    *,
    transformer: Path | None = None,
) -> Companions:
    """Look for what a run needs beside the transformer, first beside it, then everywhere.

    Raises:
        InputError: The model has no such files.
        ModelFilesError: A folder cannot be read.
    """
    with searching():
        folders = list(_beside(transformer)) if transformer is not None else []
        if checkpoint is not None:
            folders += [root.folder for root in _roots(model, checkpoint.expanduser(), env)]
        folders += [root.folder for root in _roots(model, None, env)]
        return Companions(
            vae=first_of(folders, _VAES),
            text_encoder=first_of(folders, _TEXT_ENCODERS),
            tokenizer=first_of(folders, _TOKENIZERS),
        )


def lingbot_downloads(model: str) -> tuple[Download, ...]:
    """The ways in which a model can be had.

    Raises:
        InputError: There are none.
    """
    downloads = tuple(download for download in DOWNLOADS if download.model == model)
    if not downloads:
        known = ", ".join(dict.fromkeys(download.model for download in DOWNLOADS))
        raise InputError(f"{model!r} has no files to look for", where="model", hint=f"known: {known}")
    return downloads


def _roots(model: str, checkpoint: Path | None, env: Mapping[str, str]) -> tuple[Root, ...]:
    parts = [part for download in lingbot_downloads(model) for part in download.parts]
    repos, homes = dict.fromkeys(part.repo for part in parts), dict.fromkeys(part.home for part in parts)
    if checkpoint is not None:
        return flag_roots(checkpoint, homes)
    return search_roots(repos, homes, env)


def _find_transformer(model: str, roots: tuple[Root, ...], *, given: Path | None) -> Root | None:
    """The first root's transformer; a root that the user gave may be the transformer under any name."""
    for root in roots:
        if root.folder == given and given.is_file():
            return root
        for name in _TRANSFORMERS[model]:
            folder = root.folder / name
            if holds(folder, (*_NAMES, f"*{SAFETENSORS}") if folder == given else _NAMES):
                return Root(folder, root.source)
    return None


def _beside(transformer: Path) -> Iterator[Path]:
    folder = transformer.parent if transformer.is_file() else transformer
    yield from (folder, folder.parent, folder.parent / BASE_HOME, folder.parent.parent / BASE_HOME)


def _layout(model: str, transformer: Path) -> Layout:
    if model == "lingbot-v2":
        return "v2"
    return "diffusers" if transformer.name == "transformer" else "raw"


def _other_model(model: str, checkpoint: Path | None) -> str | None:
    """The model whose transformer is where this one's was looked for."""
    if checkpoint is None:
        return None
    for name in _TRANSFORMERS:
        if name != model and _find_transformer(name, _roots(name, checkpoint, {}), given=None):
            return name
    return None


def _refuse_base_expert(checkpoint: Path) -> None:
    if checkpoint.name in _BASE_EXPERTS:
        raise ModelFilesError(
            f"{checkpoint.name} is an expert of the base model: many steps, and it sees both ways in time",
            where=f"{FLAG_SOURCE} {checkpoint}",
            hint=f"give the folder that holds {_FAST}",
        )
