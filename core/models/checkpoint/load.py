"""Checkpoint to network, tensor by tensor: the host holds the model and one tensor beside it, never more."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from core.errors import ModelFilesError
from core.models.checkpoint.shards import Weights
from core.models.checkpoint.stored import FETCH_HINT, StoredTensor, open_pth
from core.models.tensors import check_shapes

Place = Callable[[str, Tensor], Tensor]
"""Decides where a tensor goes: gets its name and the cast tensor in host memory of its own, gives what the
network shall hold (on a device, pinned, quantised)."""


def load_into(
    module: nn.Module,
    weights: Weights,
    *,
    device: torch.device,
    dtype: torch.dtype,
    keep: Collection[str] = (),
    place: Place | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Give a network on the meta device its weights.

    Names and shapes are compared before the first tensor is read. Nothing of the network refers to the file
    afterwards; its parameters need no gradients.

    Args:
        module: The network; every parameter and stored buffer is replaced.
        weights: Where the tensors lie.
        device: Where they go, unless `place` decides.
        dtype: What floating-point tensors are cast to.
        keep: Beginnings of names whose tensors keep the precision that they have on disk.
        place: Decides for each tensor where it goes.
        on_progress: Told after each tensor how many bytes of the files are done, and of how many.

    Raises:
        ModelFilesError: Tensors are missing, mis-shaped or unknown, or a file cannot be read.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    hint = "is this the checkpoint of another model?"
    check_shapes(expected, weights.shapes, where=str(weights.source), hint=hint)
    kept, done_bytes, total_bytes = tuple(keep), 0, weights.num_bytes
    for name, stored in read_tensors(weights):
        wanted = dtype if stored.is_floating_point() and not name.startswith(kept) else stored.dtype
        if place is None:
            tensor = stored.to(device=device, dtype=wanted, copy=True)
        else:
            tensor = place(name, stored.to(dtype=wanted, copy=True))
        _assign(module, name, tensor)
        done_bytes += weights.tensors[name].num_bytes
        if on_progress is not None:
            on_progress(done_bytes, total_bytes)


def read_tensors(weights: Weights) -> Iterator[tuple[str, Tensor]]:
    """Every tensor as it is stored, file after file, from the beginning of each to its end.

    A tensor is only lent: its memory is used again for the next one.

    Raises:
        ModelFilesError: A file cannot be read, or changed since it was opened.
    """
    buffer = torch.empty(0, dtype=torch.uint8)
    for file in weights.files:
        held = {name: tensor for name, tensor in weights.tensors.items() if tensor.file == file}
        if any(tensor.start is None for tensor in held.values()):
            yield from _read_pth(file, held)
            continue
        most_bytes = max(tensor.num_bytes for tensor in held.values())
        if buffer.numel() < most_bytes:
            buffer = torch.empty(most_bytes, dtype=torch.uint8)
        yield from _read_safetensors(file, held, buffer)


def _read_safetensors(
    path: Path, held: dict[str, StoredTensor], buffer: Tensor
) -> Iterator[tuple[str, Tensor]]:
    memory = buffer.numpy().data
    try:
        with path.open("rb") as file:
            for name, tensor in held.items():
                file.seek(tensor.start or 0)
                if file.readinto(memory[: tensor.num_bytes]) != tensor.num_bytes:
                    raise _lost(path, f"it ends within {tensor.key}")
                flat = buffer[: tensor.num_bytes].view(getattr(torch, tensor.dtype))
                yield name, flat.view(tensor.shape)
    except OSError as error:
        raise _lost(path, error.strerror or str(error)) from None


def _read_pth(path: Path, held: dict[str, StoredTensor]) -> Iterator[tuple[str, Tensor]]:
    mapped = open_pth(path, location="cpu")
    for name, tensor in held.items():
        if tensor.key not in mapped or tuple(mapped[tensor.key].shape) != tensor.shape:
            raise _lost(path, f"{tensor.key} is another than when it was opened")
        yield name, mapped.pop(tensor.key)


def _assign(module: nn.Module, name: str, tensor: Tensor) -> None:
    owner_name, _, leaf = name.rpartition(".")
    owner = module.get_submodule(owner_name)
    if leaf in dict(owner.named_buffers(recurse=False)):
        owner.register_buffer(leaf, tensor)
    else:
        owner.register_parameter(leaf, nn.Parameter(tensor, requires_grad=False))


def _lost(path: Path, reason: str) -> ModelFilesError:
    problem = f"a file of weights cannot be read: {reason}"
    return ModelFilesError(problem, where=str(path), hint=FETCH_HINT)
