"""What an operation is done for, told from its name and from the line of the engine that asked for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

PRODUCTS: Final = "products"
ATTENTION: Final = "attention"
BETWEEN: Final = "between operations"


class Place(NamedTuple):
    """A function of the engine.

    Attributes:
        file: Its module as a path without core/ and ending: models/wan/rope.
        function: Its name.
    """

    file: str
    function: str


_ATTENTION: Final = ("attention", "softmax", "flash", "fmha")
_PRODUCTS: Final = ("mm", "matmul", "conv", "linear", "gemm", "cutlass", "xmma", "dot")
_ACTIVATIONS: Final = ("gelu", "silu")
_NORMS: Final = ("norm", "RmsNorm", "rsqrt")

_PLACES: Final = (
    ("models/wan/rope", "RoPE"),
    ("models/wan/block", "residuals and modulation"),
    ("models/wan/network", "patches and time"),
    ("models/wan/action", "actions"),
    ("models/wan/weights", "streaming weights"),
    ("memory/window", "writing the window"),
    ("memory/insertion", "retrieving"),
    ("memory/bank", "bank"),
    ("memory/rows", "bank"),
    ("memory/packed", "bank"),
    ("memory/copies", "bank"),
    ("memory/disk_pool", "bank"),
    ("memory/prune", "pruning"),
    ("memory/", "memory"),
    ("sampler", "sampler"),
    ("noise", "noise"),
    ("profiling/", "profiling"),
    ("models/", "conditioning"),
)
"""The first that a file's path begins with."""

_CORE: Final = str(Path(__file__).parent.parent) + os.sep


def place_of(file: str, function: str) -> Place | None:
    """Where in the engine a line of Python is; None if it is another's.

    Args:
        file: Path of the module.
        function: Its function.
    """
    if not file.startswith(_CORE):
        return None
    return Place(file.removeprefix(_CORE).removesuffix(".py").replace(os.sep, "/"), function)


def kind_of(operation: str, place: Place | None) -> str:
    """One of a dozen kinds of work.

    Args:
        operation: torch's name, such as aten::addmm.
        place: Who asked for it, by `place_of`; None if nobody of the engine did.
    """
    name = operation.partition("::")[2] or operation
    if _has(name, _ATTENTION):
        return ATTENTION
    if _has(name, _PRODUCTS) and not _has(name, _NORMS):
        return PRODUCTS
    if _has(name, _ACTIVATIONS):
        return "activations"
    if place is None:
        return "elsewhere"
    file, function = place
    if _has(name, _NORMS) or (
        file == "models/wan/layers" and (_has(function, _NORMS) or function == "forward")
    ):
        return "norms"
    if file == "models/wan/layers":
        return "heads of attention" if function != "wide_linear" else "patches and time"
    return next((kind for start, kind in _PLACES if file.startswith(start)), file)


def _has(name: str, words: tuple[str, ...]) -> bool:
    return any(word in name for word in words)
