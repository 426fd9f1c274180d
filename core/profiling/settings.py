"""What is profiled, as the user asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ByteSize, TypeAdapter, ValidationError

from core.errors import InputError
from core.memory.layout import MemoryMode

ALL_MODES: Final = tuple(str(mode) for mode in MemoryMode)
DEFAULT_LENGTHS: Final[Mapping[str, tuple[int, ...]]] = {"mini": (10, 40, 90)}
OTHER_LENGTHS: Final = (10, 40)
LEAST_CHUNKS: Final = 6
"""In shorter rollouts nothing is retrieved."""


@dataclass(frozen=True, kw_only=True)
class ProfileSettings:
    """A grid of memory modes, rollout lengths and budgets.

    Attributes:
        model: The word for it on the command line.
        modes: Memory modes, each once.
        lengths: Rollout lengths in chunks at which times are told, ascending.
        budgets: Of device memory in bytes; None for what is free.
        repeats: Rollouts of every cell of the grid.
        random_weights: Whether network and codec are made up rather than loaded.
        scale: Share of a large model's width, depth and picture; random weights only. Range: (0, 1].
        every_chunk: Whether all chunks are run; otherwise a few before every length, what lies between is
            jumped over.
        own_window: Whether `sliding` keeps the model's own window instead of as many tokens as `worldkv`.
        one_layer: Whether all layers share one layer's keys and values, so that modes that do not fit can be
            timed.
        traj: Trajectory, repeated until the longest rollout is filled.
        trace: Chunks of which a profiler's trace is written.
        settings: Of `worldkv generate`, by key: None where the user left them open.
    """

    model: str = "mini"
    modes: tuple[str, ...] = ALL_MODES
    lengths: tuple[int, ...] = DEFAULT_LENGTHS["mini"]
    budgets: tuple[int | None, ...] = (None,)
    repeats: int = 3
    random_weights: bool = False
    scale: float = 1.0
    every_chunk: bool = True
    own_window: bool = False
    one_layer: bool = False
    traj: str = "loop"
    trace: tuple[int, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_choice(self.modes)
        if not self.lengths or min(self.lengths) < LEAST_CHUNKS:
            raise InputError(
                f"rollouts are at least {LEAST_CHUNKS} chunks long, got {_listed(self.lengths)}",
                where="--chunks",
                hint="nothing is retrieved in shorter ones; say --chunks 10,40,90",
            )
        if self.repeats < 1:
            raise InputError(f"repeats must be at least 1, got {self.repeats}", where="--repeats")
        if self.scale != 1 and not self.random_weights:
            raise InputError(
                "a checkpoint has the size it has",
                where="--scale",
                hint="add --random-weights",
            )
        late = [chunk for chunk in self.trace if not 0 <= chunk < self.num_chunks]
        if late:
            raise InputError(
                f"chunk {late[0]} is not one of 0 to {self.num_chunks - 1}",
                where="--trace",
                hint="name chunks of the longest rollout",
            )

    @property
    def num_chunks(self) -> int:
        """Chunks of the longest rollout, which is the one that is run."""
        return max(self.lengths)

    @property
    def model_key(self) -> str:
        """The model and its share: what a calibration holds for."""
        return self.model if self.scale == 1 else f"{self.model}@{self.scale:g}"


def default_lengths(model: str) -> tuple[int, ...]:
    """Rollout lengths that take minutes."""
    return DEFAULT_LENGTHS.get(model, OTHER_LENGTHS)


def parse_counts(text: str, *, where: str) -> tuple[int, ...]:
    """Whole numbers of "10,40,90", ascending, each once.

    Raises:
        InputError: They are none.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words):
        raise InputError(
            f"expected whole numbers with commas between, got {text!r}", where=where, hint="say 10,40,90"
        )
    return tuple(sorted({int(word) for word in words}))


def parse_modes(text: str) -> tuple[str, ...]:
    """Memory modes of "full,worldkv", each once.

    Raises:
        InputError: One is unknown.
    """
    modes = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    _check_choice(modes)
    return modes


def parse_budgets(text: str | None) -> tuple[int | None, ...]:
    """Sizes of "24GiB,72GiB"; None where nothing is said.

    Raises:
        InputError: One is no size.
    """
    if text is None:
        return (None,)
    try:
        sizes = [TypeAdapter(ByteSize).validate_python(word.strip()) for word in text.split(",")]
    except ValidationError:
        sizes = []
    if not sizes or min(sizes) <= 0:
        raise InputError(
            f"expected sizes with commas between, got {text!r}",
            where="--vram-budget",
            hint="say 24GiB,72GiB",
        )
    return tuple(dict.fromkeys(int(size) for size in sizes))


def _check_choice(modes: tuple[str, ...]) -> None:
    unknown = [mode for mode in modes if mode not in ALL_MODES]
    if unknown or not modes:
        raise InputError(
            f"unknown memory mode {_listed(unknown)!r}",
            where="--modes",
            hint=f"choose from {', '.join(ALL_MODES)}",
        )


def _listed(values: tuple[int, ...] | list[str]) -> str:
    return ", ".join(str(value) for value in values)
