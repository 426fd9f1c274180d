"""Number formats as planning needs them: how many bytes a number takes, without torch."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

WIDE_BYTES: Final = 4
"""Of a number in float32, in which norms, rotations and pictures are computed whatever the weights are."""


@runtime_checkable
class Element(Hashable, Protocol):
    """A number format. Those of torch are such, and so are the plain ones below."""

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""
        ...


@dataclass(frozen=True)
class NumberFormat:
    """A number format without torch.

    Attributes:
        name: torch's word for it.
        itemsize: Bytes of a number.
    """

    name: str
    itemsize: int


NUMBER_FORMATS: Final = {
    each.name: each
    for each in (NumberFormat("float32", 4), NumberFormat("bfloat16", 2), NumberFormat("float16", 2))
}
"""The formats in which a model may compute, by name."""

FLOAT32: Final = NUMBER_FORMATS["float32"]
