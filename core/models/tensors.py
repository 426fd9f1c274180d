"""Tensors of a weight file against those that a model expects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from core.errors import ModelFilesError

NAMED_KEYS = 3  # of each kind of fault; the rest is counted


def check_tensors(module: nn.Module, tensors: Mapping[str, Tensor], *, where: str, hint: str) -> None:
    """Compare names and shapes with the module's.

    Args:
        module: What the tensors are for; its own may be on the meta device.
        tensors: What the file holds.
        where: The file.
        hint: How to get a right one.

    Raises:
        ModelFilesError: Some are missing, mis-shaped or unknown; their names are in the error.
    """
    expected = {name: tuple(own.shape) for name, own in module.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    check_shapes(expected, found, where=where, hint=hint)


def check_shapes(
    expected: Mapping[str, tuple[int, ...]],
    found: Mapping[str, tuple[int, ...]],
    *,
    where: str,
    hint: str,
) -> None:
    """The same from shapes alone, before a tensor is read.

    Args:
        expected: Shape of every tensor of the model.
        found: Shape of every tensor of the file.
        where: The file.
        hint: How to get a right one.

    Raises:
        ModelFilesError: Some are missing, mis-shaped or unknown; their names are in the error.
    """
    wrong = [
        f"{name} is {list(found[name])}, not {list(shape)}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    faults = [
        f"{label} {_listed(names)}"
        for label, names in (
            ("missing", [name for name in expected if name not in found]),
            ("of wrong shape", wrong),
            ("unknown", [name for name in found if name not in expected]),
        )
        if names
    ]
    if faults:
        raise ModelFilesError(f"tensors do not fit the model: {'; '.join(faults)}", where=where, hint=hint)


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - NAMED_KEYS} more" if len(every) > NAMED_KEYS else ""
    return ", ".join(every[:NAMED_KEYS]) + more
