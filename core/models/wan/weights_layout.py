"""The tensors of one transformer block, and how they lie one behind another in a single piece of memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from core.models.wan.block_bytes import ALIGN_BYTES, Quantisation, Shape, block_shapes, is_quantisable
from core.models.wan.config import WanConfig
from core.models.wan.weights_quantised import made_of, plain_parts, quantise


@dataclass(frozen=True)
class Part:
    """A plain tensor inside a packed block."""

    shape: Shape
    dtype: torch.dtype
    start_bytes: int

    @property
    def num_bytes(self) -> int:
        """Bytes without what is left free behind it."""
        return math.prod(self.shape) * self.dtype.itemsize

    def view(self, flat: Tensor) -> Tensor:
        """The tensor in the memory of a packed block."""
        piece = flat[self.start_bytes : self.start_bytes + self.num_bytes]
        return piece.view(self.dtype).view(self.shape)


@dataclass(frozen=True, eq=False)
class BlockLayout:
    """Where the tensors of a block lie in one piece of memory.

    Attributes:
        like: For every tensor of the block one like it, without data.
        parts: Of what plain tensors each is made.
        packed_bytes: Bytes of the piece, gaps for alignment included.
    """

    like: Mapping[str, Tensor]
    parts: Mapping[str, tuple[Part, ...]]
    packed_bytes: int

    @property
    def tensor_bytes(self) -> int:
        """Bytes of a block's tensors by themselves."""
        return sum(part.num_bytes for parts in self.parts.values() for part in parts)

    @property
    def largest_weights(self) -> int:
        """Numbers in the largest tensor."""
        return max(tensor.numel() for tensor in self.like.values())

    def pack(self, flat: Tensor, name: str, tensor: Tensor) -> None:
        """Copy a tensor of the block to its place in the piece."""
        for part, plain in zip(self.parts[name], plain_parts(tensor), strict=True):
            part.view(flat).copy_(plain)

    def unpack(self, flat: Tensor) -> Iterator[tuple[str, Tensor]]:
        """The block's tensors, all of them views of the piece."""
        for name, like in self.like.items():
            yield name, made_of(like, (part.view(flat) for part in self.parts[name]))


@lru_cache(maxsize=8)
def block_layout(config: WanConfig, dtype: torch.dtype, quantisation: Quantisation | None) -> BlockLayout:
    """Layout of any block of a network; needs no weights.

    Raises:
        ModelFilesError: Quantisation is asked for and torchao is missing or made for another torch.
    """
    like: dict[str, Tensor] = {}
    parts: dict[str, tuple[Part, ...]] = {}
    end = 0
    for name, shape in block_shapes(config).items():
        like[name] = torch.empty(shape, dtype=dtype, device="meta")
        if quantisation is not None and is_quantisable(shape):
            like[name] = quantise(like[name], quantisation)
        placed: list[Part] = []
        for plain in plain_parts(like[name]):
            placed.append(Part(tuple(plain.shape), plain.dtype, end))
            end += -(-placed[-1].num_bytes // ALIGN_BYTES) * ALIGN_BYTES
        parts[name] = tuple(placed)
    return BlockLayout(like, parts, end)


def set_parameter(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Give a module, or one inside it, a parameter that is not trained."""
    owner, _, leaf = name.rpartition(".")
    module.get_submodule(owner).register_parameter(leaf, nn.Parameter(tensor, requires_grad=False))
