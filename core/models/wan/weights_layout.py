"""The tensors of one transformer block, and how they lie one behind another in a single piece of memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from core.models.wan.config import WanConfig
from core.models.wan.weights_quantised import Quantisation, made_of, plain_parts, quantise

ALIGN_BYTES = 256  # where a tensor may begin; what CUDA's own allocator gives at the least
Shape = tuple[int, ...]


def block_shapes(config: WanConfig) -> dict[str, Shape]:
    """Shape of every tensor of a `WanBlock`: a block on the meta device would tell, but takes a second."""
    d = config.dim
    shapes: dict[str, Shape] = {"modulation": (1, 6, d)}
    square = ["cam_injector_layer1", "cam_injector_layer2", "cam_scale_layer", "cam_shift_layer"]
    square = square if config.camera_injection != "none" else []
    for attention in ("self_attn", "cross_attn") if config.has_context else ("self_attn",):
        square += [f"{attention}.{name}" for name in "qkvo"]
        shapes |= {f"{attention}.norm_{name}.weight": (d,) for name in "qk"}
    linear = dict.fromkeys(square, (d, d))
    linear |= {"ffn.0": (config.ffn_dim, d), "ffn.2": (d, config.ffn_dim)}
    for name, (rows, cols) in linear.items():
        shapes |= {f"{name}.weight": (rows, cols), f"{name}.bias": (rows,)}
    if config.has_context:
        shapes |= {"norm3.weight": (d,), "norm3.bias": (d,)}
    return shapes


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


def is_quantisable(shape: Shape) -> bool:
    """Whether a tensor of a block is the weight of a linear layer."""
    return len(shape) == 2


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
