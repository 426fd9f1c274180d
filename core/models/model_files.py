"""Any model's files by the model's name: where they are, and what is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import InputError
from core.models import catalog
from core.models.lingbot import files as lingbot
from core.models.matrix_game import files as matrix_game
from core.models.matrix_game.config import DEFAULT_VARIANT, MODEL

if TYPE_CHECKING:
    from core.models.check_report import CheckReport


@dataclass(frozen=True)
class FoundFiles:
    """Where a model's files are.

    Attributes:
        transformer: File or folder of the network.
        source: Why that was taken: the flag, the variable, or the cache.
        missing: Other parts that were not found, as `worldkv models pull --part` calls them.
    """

    transformer: Path
    source: str
    missing: tuple[str, ...]


def find_model_files(
    model: str,
    variant: str | None = None,
    checkpoint: Path | None = None,
    env: Mapping[str, str] = os.environ,
) -> FoundFiles:
    """Look for a model's files by name; no file is opened, and no torch is needed.

    Args:
        model: Name in the registry.
        variant: Of the model; None for the usual one.
        checkpoint: What `--checkpoint` says.
        env: The environment.

    Raises:
        InputError: There are no files to look for, or there is no such variant.
        ModelFilesError: There is no transformer; the error says where was looked and what fetches it.
    """
    _check_names(model, variant)
    if model == MODEL:
        ours = matrix_game.find_files(variant or DEFAULT_VARIANT, checkpoint, env)
        paths = {"vae": ours.vae, "clip": ours.clip}
        return FoundFiles(ours.transformer, ours.source, _missing(paths))
    theirs = lingbot.find_files(model, checkpoint, env)
    paths = {"vae": theirs.vae, "text_encoder": theirs.text_encoder, "tokenizer": theirs.tokenizer}
    return FoundFiles(theirs.transformer, theirs.source, _missing(paths))


def check_model_files(
    model: str,
    variant: str | None = None,
    checkpoint: Path | None = None,
    env: Mapping[str, str] = os.environ,
) -> CheckReport:
    """Look at every part of a model from headers alone, whatever is wrong with the others.

    Args:
        model: Name in the registry.
        variant: Of the model; None for the usual one.
        checkpoint: What `--checkpoint` says.
        env: The environment.

    Raises:
        InputError: There are no files to look for, or there is no such variant.
    """
    _check_names(model, variant)
    if model == MODEL:
        from core.models.matrix_game.check import check_files as check_matrix_game

        return check_matrix_game(variant or DEFAULT_VARIANT, checkpoint, env)
    from core.models.lingbot.check import check_files as check_lingbot

    return check_lingbot(model, checkpoint, env)


def variants_of(model: str) -> tuple[str, ...]:
    """Variants of a model, the usual one first; none if there is only one network."""
    downloads = catalog.downloads_of(model)
    return downloads[0].variants if downloads else ()


def _check_names(model: str, variant: str | None) -> None:
    if not catalog.downloads_of(model):
        hint = f"known: {', '.join(catalog.models_with_files())}"
        raise InputError(f"{model!r} has no files to look for", where="model", hint=hint)
    if variant is not None and not variants_of(model):
        raise InputError(f"{model} has no variants, got {variant!r}", where="--variant", hint="leave it out")


def _missing(paths: Mapping[str, Path | None]) -> tuple[str, ...]:
    return tuple(part for part, path in paths.items() if path is None)
