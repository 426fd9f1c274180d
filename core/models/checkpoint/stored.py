"""What a file of tensors holds, without reading one.

A safetensors file begins with its table of contents, which needs no torch; a `.pth` is a zip for torch.
"""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from core.errors import ModelFilesError

Shape = tuple[int, ...]

FETCH_HINT = "delete this file and fetch it again"
MAX_HEADER_BYTES = 100_000_000  # as the format says
_LENGTH_BYTES = 8  # the header's own length stands before it, little-endian
_GIT_LFS = b"version https://git-lfs"
_DTYPES = {
    "F64": ("float64", 8),
    "F32": ("float32", 4),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "F8_E4M3": ("float8_e4m3fn", 1),
    "F8_E5M2": ("float8_e5m2", 1),
    "I64": ("int64", 8),
    "I32": ("int32", 4),
    "I16": ("int16", 2),
    "I8": ("int8", 1),
    "U8": ("uint8", 1),
    "BOOL": ("bool", 1),
}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor on disk.

    Attributes:
        shape: Its shape.
        dtype: torch's word for its element type.
        num_bytes: Bytes of its data.
        file: Where it lies.
        key: Its name there; who opened the file may know it by another one.
        start: Byte of the file at which its data begins; None in a `.pth`, where torch finds it.
    """

    shape: Shape
    dtype: str
    num_bytes: int
    file: Path
    key: str
    start: int | None = None

    @property
    def num_elements(self) -> int:
        """Elements of the tensor."""
        return math.prod(self.shape)


def read_safetensors_header(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file in the order of their data.

    Raises:
        ModelFilesError: The file cannot be opened, is cut short, or is of another kind.
    """
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(max(_LENGTH_BYTES, len(_GIT_LFS)))
            length = int.from_bytes(head[:_LENGTH_BYTES], "little")
            if head.startswith(_GIT_LFS):
                raise _pointer(path)
            if size_bytes < _LENGTH_BYTES:
                raise _unreadable(path, f"it has only {size_bytes} bytes")
            if length > MAX_HEADER_BYTES:
                raise _unreadable(path, "it does not begin with a safetensors header")
            if size_bytes < _LENGTH_BYTES + length:
                raise _cut_short(path, size_bytes, f"more than {_LENGTH_BYTES + length:,}")
            file.seek(_LENGTH_BYTES)
            table = _parse(path, file.read(length))
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from None
    return _tensors(path, table, begin=_LENGTH_BYTES + length, size_bytes=size_bytes)


def read_pth_header(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a flat state dict that `torch.save` wrote; its data is not read.

    Raises:
        ModelFilesError: The file cannot be opened, is cut short, or holds something else.
    """
    import torch

    stored = open_pth(path, location="meta")
    return {
        name: StoredTensor(
            shape=tuple(tensor.shape),
            dtype=str(tensor.dtype).removeprefix("torch."),
            num_bytes=tensor.numel() * tensor.element_size(),
            file=path,
            key=name,
        )
        for name, tensor in cast("dict[str, torch.Tensor]", stored).items()
    }


def open_pth(path: Path, *, location: str) -> dict[str, Any]:
    """The tensors of a `.pth`, mapped from the file ("cpu") or without data ("meta").

    Raises:
        ModelFilesError: The file cannot be opened, is cut short, or holds something else.
    """
    import torch

    try:
        with path.open("rb") as file:
            if file.read(len(_GIT_LFS)) == _GIT_LFS:
                raise _pointer(path)
        stored = torch.load(path, map_location=location, weights_only=True, mmap=True)
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from None
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise _unreadable(path, _first_line(error)) from None
    if not isinstance(stored, dict) or not stored:
        raise _unreadable(path, "it holds no table of tensors")
    strange = [str(name) for name, each in stored.items() if not isinstance(each, torch.Tensor)]
    if strange:
        raise _unreadable(path, f"{strange[0]} is no tensor")
    return stored


def _parse(path: Path, header: bytes) -> dict[str, Any]:
    try:
        table = json.loads(header)
    except ValueError:  # no JSON, or no UTF-8
        raise _unreadable(path, "it does not begin with a safetensors header") from None
    if not isinstance(table, dict):
        raise _unreadable(path, "its header is no table of tensors")
    table.pop("__metadata__", None)
    return table


def _tensors(path: Path, table: Mapping[str, Any], *, begin: int, size_bytes: int) -> dict[str, StoredTensor]:
    tensors = {name: _tensor(path, name, entry, begin) for name, entry in table.items()}
    tensors = dict(sorted(tensors.items(), key=lambda item: (item[1].start, item[1].num_bytes)))
    end = begin
    for name, tensor in tensors.items():
        if tensor.start != end:
            raise _unreadable(path, f"{name} does not begin where the tensor before it ends")
        end += tensor.num_bytes
    if size_bytes < end:
        raise _cut_short(path, size_bytes, f"{end:,}")
    if size_bytes > end:
        raise _unreadable(path, f"it has {size_bytes - end:,} bytes more than its header says")
    return tensors


def _tensor(path: Path, name: str, entry: object, begin: int) -> StoredTensor:
    try:
        fields = cast("dict[str, Any]", entry)
        shape = tuple(_count(size) for size in fields["shape"])
        first, last = (_count(offset) for offset in fields["data_offsets"])
        kind = fields["dtype"]
    except (KeyError, TypeError, ValueError):
        raise _unreadable(path, f"its header does not describe {name} properly") from None
    if kind not in _DTYPES:
        raise _unreadable(path, f"{name} has elements of the unknown type {kind}")
    dtype, element_bytes = _DTYPES[kind]
    if last - first != math.prod(shape) * element_bytes:
        raise _unreadable(
            path, f"{name} takes {last - first:,} bytes, which its shape {list(shape)} does not"
        )
    return StoredTensor(
        shape=shape, dtype=dtype, num_bytes=last - first, file=path, key=name, start=begin + first
    )


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(value)
    return value


def _cut_short(path: Path, size_bytes: int, whole: str) -> ModelFilesError:
    problem = f"a file of weights is cut short: it has {size_bytes:,} of {whole} bytes"
    return ModelFilesError(problem, where=str(path), hint=FETCH_HINT)


def _unreadable(path: Path, reason: str) -> ModelFilesError:
    problem = f"a file of weights cannot be read: {reason}"
    return ModelFilesError(problem, where=str(path), hint=FETCH_HINT)


def _pointer(path: Path) -> ModelFilesError:
    return ModelFilesError(
        "this is only Git's pointer to the file, not the file",
        where=str(path),
        hint="git lfs pull, or fetch the file another way",
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
