"""Weights on disk: one file, or shards that an index names. Opening them reads headers only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.errors import ModelFilesError
from core.models.checkpoint.stored import (
    FETCH_HINT,
    Shape,
    StoredTensor,
    read_pth_header,
    read_safetensors_header,
)

INDEX_SUFFIX = ".safetensors.index.json"
SAFETENSORS = ".safetensors"
PICKLES = (".pth", ".pt", ".bin")
_NAMED = 3  # shards or tensors that an error names; the rest is counted


@dataclass(frozen=True)
class Weights:
    """The tensors of a checkpoint, known but not read.

    Attributes:
        source: What was opened: the index, or the only file.
        tensors: Every tensor by name, file after file, in the order of their data.
    """

    source: Path
    tensors: Mapping[str, StoredTensor]

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shape of every tensor."""
        return {name: tensor.shape for name, tensor in self.tensors.items()}

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that hold tensors."""
        return tuple(dict.fromkeys(tensor.file for tensor in self.tensors.values()))

    @property
    def num_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.num_bytes for tensor in self.tensors.values())

    @property
    def num_parameters(self) -> int:
        """Elements of all tensors."""
        return sum(tensor.num_elements for tensor in self.tensors.values())

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Element types, the one with the most bytes first."""
        total: dict[str, int] = {}
        for tensor in self.tensors.values():
            total[tensor.dtype] = total.get(tensor.dtype, 0) + tensor.num_bytes
        return tuple(sorted(total, key=lambda dtype: -total[dtype]))

    def renamed(self, names: Mapping[str, str]) -> Weights:
        """The same tensors under other names.

        Args:
            names: The new name of every tensor that is wanted; the others are left out.
        """
        return replace(self, tensors={names[old]: t for old, t in self.tensors.items() if old in names})


def open_weights(path: Path) -> Weights:
    """The tensors of a folder or file, from headers alone.

    A folder holds an index and its shards, or a single safetensors file, or a single `.pth`. Shard names are
    taken from the index: they need not resemble its own. Tensors of a shard that the index does not name are
    not part of the checkpoint.

    Raises:
        ModelFilesError: Nothing is there, a shard is missing, cut short or unreadable, or index and shards
            disagree.
    """
    file = find_weights(path)
    if file.name.endswith(INDEX_SUFFIX):
        return _open_sharded(file)
    read = read_safetensors_header if file.suffix == SAFETENSORS else read_pth_header
    return Weights(source=file, tensors=read(file))


def find_weights(path: Path) -> Path:
    """The index or the only weight file of a folder; a file stands for itself.

    Raises:
        ModelFilesError: There is none, or more than one.
    """
    if path.is_file():
        if not path.name.endswith((INDEX_SUFFIX, SAFETENSORS, *PICKLES)):
            kinds = ", ".join((SAFETENSORS, INDEX_SUFFIX, *PICKLES))
            raise ModelFilesError("this is no file of weights", where=str(path), hint=f"known kinds: {kinds}")
        return path
    if not path.is_dir():
        raise ModelFilesError("there is no such file or folder", where=str(path))
    for suffixes in ((INDEX_SUFFIX,), (SAFETENSORS,), PICKLES):
        found = [file for file in _children(path) if file.name.endswith(suffixes)]
        if len(found) == 1 and not _is_lone_shard(found[0]):
            return found[0]
        if found:
            raise _not_one(path, found)
    raise ModelFilesError(
        "the folder holds no weights", where=str(path), hint=f"expected *{INDEX_SUFFIX} with its shards"
    )


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise ModelFilesError(f"the folder cannot be read: {error.strerror}", where=str(folder)) from None


def _is_lone_shard(file: Path) -> bool:
    """Whether a file is one of several by its name: `model-00001-of-00016.safetensors`."""
    head, of, count = file.stem.rpartition("-of-")
    return bool(of) and count.isdecimal() and int(count) > 1 and head[-1:].isdecimal()


def _not_one(folder: Path, found: list[Path]) -> ModelFilesError:
    if found[0].name.endswith(INDEX_SUFFIX):
        return ModelFilesError(
            f"the folder holds {len(found)} indices: {_listed([file.name for file in found])}",
            where=str(folder),
            hint="give the path of the right one",
        )
    if any(_is_lone_shard(file) for file in found):
        problem = "shards are there, but not the index that names them all"
        return ModelFilesError(problem, where=str(folder), hint=f"fetch the file *{INDEX_SUFFIX}")
    return ModelFilesError(
        f"the folder holds {len(found)} files of weights and no index: "
        f"{_listed([file.name for file in found])}",
        where=str(folder),
        hint="give the path of the right one",
    )


def _open_sharded(index: Path) -> Weights:
    weight_map = _read_index(index)
    names = sorted(set(weight_map.values()))
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise ModelFilesError(
            f"{len(missing)} of {len(names)} shards are missing: {_listed(missing)}",
            where=str(index.parent),
            hint="fetch the missing files",
        )
    headers = _read_shards([index.parent / name for name in names])
    tensors: dict[str, StoredTensor] = {}
    for name in names:
        held = headers[index.parent / name]
        wanted = [tensor for tensor, shard in weight_map.items() if shard == name]
        absent = [tensor for tensor in wanted if tensor not in held]
        if absent:
            problem = f"{name} lacks tensors that the index says it holds: {_listed(absent)}"
            raise ModelFilesError(problem, where=str(index.parent / name), hint=FETCH_HINT)
        chosen = set(wanted)
        tensors |= {tensor: stored for tensor, stored in held.items() if tensor in chosen}
    return Weights(source=index, tensors=tensors)


def _read_shards(files: list[Path]) -> dict[Path, dict[str, StoredTensor]]:
    headers: dict[Path, dict[str, StoredTensor]] = {}
    broken: list[ModelFilesError] = []
    for file in files:
        try:
            headers[file] = read_safetensors_header(file)
        except ModelFilesError as error:
            broken.append(error)
    if broken:
        first = broken[0]
        others = ", ".join(Path(error.where).name for error in broken[1:])
        problem = f"{first.problem}; also broken: {others}" if others else first.problem
        raise ModelFilesError(problem, where=first.where, hint=first.hint)
    return headers


def _read_index(index: Path) -> dict[str, str]:
    """File name of every tensor."""
    try:
        content: Any = json.loads(index.read_bytes())
        weight_map = content["weight_map"]
        pairs = list(weight_map.items())
    except OSError as error:
        raise ModelFilesError(
            f"the index cannot be read: {error.strerror}", where=str(index), hint=FETCH_HINT
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ModelFilesError(
            "this is no index of shards: it has no table weight_map", where=str(index), hint=FETCH_HINT
        ) from None
    strange = [
        name for name, file in pairs if not isinstance(file, str) or Path(file).name != file or not file
    ]
    if strange or not pairs:
        reason = f"the shard of {strange[0]} is no file name" if strange else "it names no tensors"
        raise ModelFilesError(f"the index cannot be used: {reason}", where=str(index), hint=FETCH_HINT)
    return dict(pairs)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
