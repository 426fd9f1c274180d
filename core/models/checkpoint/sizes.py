"""Sizes of a Wan transformer that need more than one look: its blocks, its heads, what `config.json` adds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import ModelFilesError
from core.models.checkpoint.stored import Shape

HEAD_DIM = 128  # of every released checkpoint
EPS = 1e-6

_MAP_HINT = "check --model and --checkpoint"
_FETCH_HINT = "fetch the checkpoint again"


@dataclass(frozen=True)
class Recorded:
    """What a folder's `config.json` says that shapes cannot tell; None where it is silent.

    Attributes:
        path: The file.
        num_heads: Attention heads.
        head_dim: Width of a head.
        text_tokens: Length to which the text is padded.
    """

    path: Path | None = None
    num_heads: int | None = None
    head_dim: int | None = None
    text_tokens: int | None = None


def read_recorded(folder: Path, *, owner: str) -> Recorded:
    """What `config.json` says; nothing if it is missing or empty.

    Args:
        folder: Where it lies.
        owner: The model, for errors.

    Raises:
        ModelFilesError: It cannot be read, or a value in it cannot be right.
    """
    path = folder / "config.json"
    if not path.is_file():
        return Recorded()
    try:
        text = path.read_text()
        values: Any = json.loads(text) if text.strip() else {}
    except (OSError, ValueError):
        values = None
    if not isinstance(values, dict):
        raise ModelFilesError(
            "config.json cannot be read",
            where=str(path),
            hint="fetch it again or delete it: sizes are read off the tensors",
        )
    if values.get("eps", EPS) != EPS:
        raise ModelFilesError(
            f"eps is {values['eps']}, but {owner}'s norms have {EPS}", where=str(path), hint=_MAP_HINT
        )
    return Recorded(
        path=path,
        num_heads=_count(values, path, "num_heads", "num_attention_heads"),
        head_dim=_count(values, path, "head_dim", "attention_head_dim"),
        text_tokens=_count(values, path, "text_len"),
    )


def num_layers(shapes: Mapping[str, Shape], *, where: str) -> int:
    """Transformer blocks, counted.

    Raises:
        ModelFilesError: One between them is missing.
    """
    layers = {name.split(".")[1] for name in shapes if name.startswith("blocks.")}
    absent = [layer for layer in range(len(layers)) if str(layer) not in layers]
    if absent:
        problem = f"{len(layers)} blocks are there, but none is blocks.{absent[0]}"
        raise ModelFilesError(problem, where=where, hint=_FETCH_HINT)
    return len(layers)


def num_heads(dim: int, recorded: Recorded, *, where: str) -> int:
    """Attention heads: as recorded, else as many as have the released width.

    Raises:
        ModelFilesError: The record does not go with the tensors, or there is none and the width is unusual.
    """
    heads = recorded.num_heads
    if heads is None and recorded.head_dim is not None:
        heads = dim // recorded.head_dim
    if heads is not None:
        head_dim = dim / heads if heads else 0
        if not head_dim or head_dim % 2 or recorded.head_dim not in (None, head_dim):
            each = f" of {recorded.head_dim}" if recorded.head_dim is not None else ""
            problem = f"{heads} heads{each} do not make the width {dim} of the tensors"
            raise ModelFilesError(problem, where=str(recorded.path), hint=_MAP_HINT)
        return heads
    if not dim or dim % HEAD_DIM:
        raise ModelFilesError(
            f"width {dim} is no multiple of {HEAD_DIM}: the shapes do not tell the number of heads",
            where=where,
            hint='write {"num_heads": N} into config.json beside the weights',
        )
    return dim // HEAD_DIM


def _count(values: Mapping[str, Any], path: Path, *names: str) -> int | None:
    """The first of these values that is there."""
    for name in names:
        value = values.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ModelFilesError(f"{name} must be a number from 1, got {value!r}", where=str(path))
        return value
    return None
