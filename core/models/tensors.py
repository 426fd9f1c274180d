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
    expected = module.state_dict()
    wrong = [
        f"{name} is {list(tensors[name].shape)}, not {list(own.shape)}"
        for name, own in expected.items()
        if name in tensors and tensors[name].shape != own.shape
    ]
    faults = [
        f"{label} {_listed(names)}"
        for label, names in (
            ("missing", [name for name in expected if name not in tensors]),
            ("of wrong shape", wrong),
            ("unknown", [name for name in tensors if name not in expected]),
        )
        if names
    ]
    if faults:
        raise ModelFilesError(f"tensors do not fit the model: {'; '.join(faults)}", where=where, hint=hint)


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - NAMED_KEYS} more" if len(every) > NAMED_KEYS else ""
    return ", ".join(every[:NAMED_KEYS]) + more
