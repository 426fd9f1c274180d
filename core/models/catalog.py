"""Every model that has files to fetch. Models whose weights are part of the package are not here."""

from __future__ import annotations

import difflib
from typing import Final

from core.errors import InputError
from core.models.downloads import Download, Layout
from core.models.lingbot import catalog as lingbot
from core.models.matrix_game import catalog as matrix_game

_DOWNLOADS: Final = (*lingbot.DOWNLOADS, *matrix_game.DOWNLOADS)


def downloads_of(model: str) -> tuple[Download, ...]:
    """The layouts in which a model can be had, the usual one first; none for an embedded model."""
    return tuple(download for download in _DOWNLOADS if download.model == model)


def models_with_files() -> tuple[str, ...]:
    """Names of the models that have files to fetch."""
    return tuple(dict.fromkeys(download.model for download in _DOWNLOADS))


def find_download(model: str, layout: Layout | None = None) -> Download:
    """The files of a model.

    Args:
        model: Name in the registry.
        layout: None for the usual one.

    Raises:
        InputError: The model has no files to fetch, or not in this layout.
    """
    found = downloads_of(model)
    if not found:
        names = models_with_files()
        near = difflib.get_close_matches(model, names, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        hint = f"{meant}models with files: {', '.join(names)}"
        raise InputError(f"there are no files to fetch for {model!r}", where="MODEL", hint=hint)
    for download in found:
        if layout in (None, download.layout):
            return download
    layouts = " or ".join(download.layout for download in found)
    raise InputError(
        f"{model} cannot be had in this layout: {layout}", where="--layout", hint=f"use {layouts}"
    )
