"""What the tensors of a transformer block take, quantised or not: integers, no torch and no torchao."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from core.elements import WIDE_BYTES
from core.models.wan.config import WanConfig

Quantisation = Literal["int8", "fp8"]
QUANTISATIONS: Final[tuple[Quantisation, ...]] = ("int8", "fp8")

ALIGN_BYTES: Final = 256
"""Where a tensor of a packed block may begin; what CUDA's own allocator gives at the least."""

_BESIDE_BYTES: Final[dict[Quantisation, tuple[int, ...]]] = {"int8": (WIDE_BYTES, 1), "fp8": (WIDE_BYTES,)}
"""What torchao 0.18 keeps for every row beside numbers of one byte: a scale, and for int8 a zero point.

Other versions differ by a few bytes a row, a thousandth of the weights.
"""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class BlockBytes:
    """What the tensors of a block take.

    Attributes:
        tensors: By themselves.
        packed: One behind another in a single piece of memory, gaps for alignment included.
        largest_weights: Numbers in the largest tensor.
    """

    tensors: int
    packed: int
    largest_weights: int


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


def is_quantisable(shape: Shape) -> bool:
    """Whether a tensor of a block is the weight of a linear layer."""
    return len(shape) == 2


@lru_cache(maxsize=8)
def block_bytes(config: WanConfig, element_bytes: int, quantisation: Quantisation | None) -> BlockBytes:
    """What any block of a network takes.

    Args:
        config: The network.
        element_bytes: Of a number that is not quantised.
        quantisation: Of the linear layers' weights.
    """
    shapes = block_shapes(config).values()
    sizes = [size for shape in shapes for size in _part_bytes(shape, element_bytes, quantisation)]
    return BlockBytes(
        tensors=sum(sizes),
        packed=sum(-(-size // ALIGN_BYTES) * ALIGN_BYTES for size in sizes),
        largest_weights=max(math.prod(shape) for shape in shapes),
    )


def scratch_bytes_per_weight(quantisation: Quantisation | None, element_bytes: int) -> int:
    """Device bytes that come and go for every weight of the linear layer that is just computed.

    torchao turns int8 into the computation's format for the product; fp8 becomes float32, is scaled, and
    then cast.

    Args:
        quantisation: Of the weight.
        element_bytes: Of a number of the computation.
    """
    if quantisation is None:
        return 0
    if quantisation == "int8":
        return element_bytes
    return 2 * WIDE_BYTES + (0 if element_bytes == WIDE_BYTES else element_bytes)


def _part_bytes(shape: Shape, element_bytes: int, quantisation: Quantisation | None) -> Iterator[int]:
    """Bytes of the plain tensors of which a tensor of the block is made."""
    if quantisation is None or not is_quantisable(shape):
        yield math.prod(shape) * element_bytes
        return
    yield math.prod(shape)
    yield from (shape[0] * each for each in _BESIDE_BYTES[quantisation])
