"""The models by name. Nothing heavy is imported until a model is asked for."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from core.errors import InputError

if TYPE_CHECKING:
    from core.models.outline import OpenOutline
    from core.models.session import OpenSession


@dataclass(frozen=True)
class ModelEntry:
    """What is known about a model before it is opened.

    Attributes:
        name: The word for it on the command line.
        description: One line for people.
        package: Its modules: `session` has `open_session`, `outline` has `open_outline`.
        chunk_frames: Latent frames denoised together; the usual number first, then others that are possible.
        video_stride: Video frames of a latent frame; the first one of a video is one video frame.
        wants_gpu: Whether it is too large for a CPU to be of use.
    """

    name: str
    description: str
    package: str
    chunk_frames: tuple[int, ...] = (3,)
    video_stride: int = 4
    wants_gpu: bool = True

    def first_chunk_frames(self, chunk_frames: int) -> int:
        """Video frames of the first chunk."""
        return 1 + (chunk_frames - 1) * self.video_stride

    def later_chunk_frames(self, chunk_frames: int) -> int:
        """Video frames of every later chunk."""
        return chunk_frames * self.video_stride

    def pick_chunk_frames(self, wanted: int | None, *, where: str) -> int:
        """Latent frames of a chunk: the usual number, or another one that the model knows.

        Raises:
            InputError: It does not.
        """
        if wanted is None or wanted in self.chunk_frames:
            return wanted or self.chunk_frames[0]
        known = " or ".join(str(count) for count in sorted(self.chunk_frames))
        raise InputError(
            f"{self.name} denoises {known} latent frames together, got {wanted}",
            where=where,
            hint="leave it out",
        )

    def open(self) -> OpenSession:
        """The function that prepares a rollout of this model."""
        return cast("OpenSession", import_module(f"{self.package}.session").open_session)

    def outliner(self) -> OpenOutline:
        """The function that draws a rollout of this model, without files and without torch."""
        return cast("OpenOutline", import_module(f"{self.package}.outline").open_outline)


_ENTRIES = (
    ModelEntry(
        name="mini",
        description="Embedded: rooms at 80x48, camera-conditioned, 4.2 M parameters, runs on a laptop CPU.",
        package="core.models.mini",
        video_stride=1,
        wants_gpu=False,
    ),
    ModelEntry(
        name="lingbot",
        description="LingBot-World-Fast: any picture at 480p, steered by cameras, 18.5 B parameters, GPU.",
        package="core.models.lingbot",
    ),
    ModelEntry(
        name="lingbot-v2",
        description="LingBot-World V2, causal and fast: the same network, chunks of 4 latent frames.",
        package="core.models.lingbot",
        chunk_frames=(4, 3),
    ),
    ModelEntry(
        name="matrix-game",
        description="Matrix-Game-2.0: game worlds at 640x352, keyboard and mouse, 1.6 B parameters, GPU.",
        package="core.models.matrix_game",
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
