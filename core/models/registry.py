"""The models by name. Nothing heavy is imported until a model is asked for."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from core.errors import InputError

if TYPE_CHECKING:
    from core.models.session import OpenSession


@dataclass(frozen=True)
class ModelEntry:
    """What is known about a model before it is opened.

    Attributes:
        name: The word for it on the command line.
        description: One line for people.
        first_chunk_frames: Video frames of the first chunk.
        later_chunk_frames: Video frames of every later chunk.
        opener: Function that prepares a session, as module:function.
    """

    name: str
    description: str
    first_chunk_frames: int
    later_chunk_frames: int
    opener: str

    def open(self) -> OpenSession:
        """The function that prepares a rollout of this model."""
        module, function = self.opener.split(":")
        return cast("Callable[..., object]", getattr(import_module(module), function))  # type: ignore[return-value]


_ENTRIES = (
    ModelEntry(
        name="mini",
        description="Embedded: rooms at 80x48, camera-conditioned, 4.2 M parameters, runs on a laptop CPU.",
        first_chunk_frames=3,
        later_chunk_frames=3,
        opener="core.models.mini.session:open_session",
    ),
)


def list_models() -> tuple[ModelEntry, ...]:
    """All models."""
    return _ENTRIES


def model_entry(name: str) -> ModelEntry:
    """The model of a name.

    Raises:
        InputError: There is none.
    """
    known = {entry.name: entry for entry in _ENTRIES}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    raise InputError(f"unknown model {name!r}", where="--model", hint=f"{meant}known: {', '.join(known)}")
