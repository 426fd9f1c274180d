"""Where Matrix-Game's files are. Finding them needs no torch and reads no file of weights.

They lie as in the repository. Codec and image encoder may instead be diffusers' folders `vae/` and
`image_encoder/`; the codec, which is LingBot's too, may be in one of LingBot's folders.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from core.errors import ModelFilesError
from core.models.checkpoint.find import first_of, holds, searching
from core.models.checkpoint.locate import FLAG_SOURCE, Root, flag_roots, places_looked, search_roots
from core.models.checkpoint.shards import SAFETENSORS
from core.models.downloads import Part
from core.models.lingbot.catalog import DOWNLOADS as LINGBOT_DOWNLOADS
from core.models.matrix_game.catalog import CLIP_FILE, MATRIX_GAME, VAE_FILE
from core.models.matrix_game.config import DEFAULT_VARIANT, MODEL, VARIANTS, Variant, find_variant

_VAES: Final = (VAE_FILE, "vae")
_CLIPS: Final = (CLIP_FILE, "image_encoder")
_OTHER_VAES: Final = tuple(
    part for download in LINGBOT_DOWNLOADS for part in download.parts if part.name == "vae"
)


@dataclass(frozen=True)
class Companions:
    """What a run needs beside the transformer; None where nothing was found.

    Attributes:
        vae: `Wan2.1_VAE.pth`, or a folder of diffusers.
        clip: The official `.pth` of the image encoder, or its folder of diffusers.
    """

    vae: Path | None
    clip: Path | None


@dataclass(frozen=True)
class MatrixGameFiles:
    """Where the parts of a checkpoint are; None where nothing was found.

    Attributes:
        variant: Which variant was looked for.
        layout: How they are laid out.
        source: Why this transformer was taken: the flag, the variable, or the cache.
        transformer: File of the network's weights, or a folder that holds one.
        vae: `Wan2.1_VAE.pth`, or a folder of diffusers.
        clip: The official `.pth` of the image encoder, or its folder of diffusers.
    """

    variant: Variant
    layout: Literal["raw"]
    source: str
    transformer: Path
    vae: Path | None
    clip: Path | None


def find_files(
    variant: str = DEFAULT_VARIANT, checkpoint: Path | None = None, env: Mapping[str, str] = os.environ
) -> MatrixGameFiles:
    """Look for a variant's files.

    The transformer is looked for in `checkpoint` alone if that is given, else in every folder of
    `WORLDKV_CHECKPOINTS`, then in the Hugging Face cache; the other parts beside it first, then wherever a
    transformer would have been looked for, the codec also where LingBot's may be. Whether the files are
    whole, and really of this variant, is not looked at.

    Args:
        variant: Name of the variant.
        checkpoint: What `--checkpoint` says: a folder laid out as the repository, or of several checkpoints,
            or the weights' own folder or file under any name.
        env: The environment.

    Raises:
        InputError: There is no such variant.
        ModelFilesError: There is no transformer; the error says where was looked and what fetches it.
    """
    wanted = find_variant(variant)
    given = None if checkpoint is None else checkpoint.expanduser()
    with searching():
        roots = _roots(MATRIX_GAME.parts, given, env)
        found = _find_transformer(wanted, roots, given=given)
        if found is None:
            raise _not_found(wanted, roots, given, env)
    beside = find_companions(given, env, transformer=found.folder)
    return MatrixGameFiles(wanted, "raw", found.source, found.folder, beside.vae, beside.clip)


def find_companions(
    checkpoint: Path | None = None,
    env: Mapping[str, str] = os.environ,
    *,
    transformer: Path | None = None,
) -> Companions:
    """Look for what a run needs beside the transformer, first beside it, then everywhere.

    Raises:
        ModelFilesError: A folder cannot be read.
    """
    with searching():
        folders = list(_beside(transformer)) if transformer is not None else []
        if checkpoint is not None:
            folders += _folders(MATRIX_GAME.parts, checkpoint.expanduser(), env)
        folders += _folders(MATRIX_GAME.parts, None, env)
        others = _folders(_OTHER_VAES, checkpoint.expanduser(), env) if checkpoint is not None else []
        others += _folders(_OTHER_VAES, None, env)
        return Companions(vae=first_of([*folders, *others], _VAES), clip=first_of(folders, _CLIPS))


def pull_command(variant: Variant) -> str:
    """What fetches all that a run of a variant needs."""
    if variant.name == DEFAULT_VARIANT:
        return MATRIX_GAME.command
    shared = [part.name for part in MATRIX_GAME.parts if not part.variant]
    return f"{MATRIX_GAME.command} --part {','.join((variant.name, *shared))}"


def _roots(parts: Iterable[Part], checkpoint: Path | None, env: Mapping[str, str]) -> tuple[Root, ...]:
    parts = tuple(parts)
    repos, homes = dict.fromkeys(part.repo for part in parts), dict.fromkeys(part.home for part in parts)
    if checkpoint is not None:
        return flag_roots(checkpoint, homes)
    return search_roots(repos, homes, env)


def _folders(parts: Iterable[Part], checkpoint: Path | None, env: Mapping[str, str]) -> list[Path]:
    return [root.folder for root in _roots(parts, checkpoint, env)]


def _find_transformer(variant: Variant, roots: tuple[Root, ...], *, given: Path | None) -> Root | None:
    """The first root's transformer; a root that the user gave may be the transformer under any name."""
    for root in roots:
        if root.folder == given and given.is_file():
            return root
        for name in (variant.file, Path(variant.file).name):
            file = root.folder / name
            if file.is_file():
                return Root(file, root.source)
        if root.folder == given and holds(given, [f"*{SAFETENSORS}"]):
            return root
    return None


def _beside(transformer: Path) -> Iterator[Path]:
    folder = transformer.parent if transformer.is_file() else transformer
    yield from (folder, folder.parent)


def _not_found(
    variant: Variant, roots: tuple[Root, ...], given: Path | None, env: Mapping[str, str]
) -> ModelFilesError:
    others = [each for each in VARIANTS if each != variant and _find_transformer(each, roots, given=None)]
    where = places_looked(env) if given is None else f"{FLAG_SOURCE} {given}"
    hint = f"{pull_command(variant)}, or --checkpoint DIR"
    if others:
        there = " or ".join(f"--variant {each.name}" for each in others)
        hint = f"there are others: {there}; for this one: {pull_command(variant)}"
    problem = f"no weights of {MODEL}'s variant {variant.name} were found"
    return ModelFilesError(problem, where=where, hint=hint)
