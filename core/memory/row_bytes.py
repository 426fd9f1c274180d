"""Bytes of a row of the bank: one token's key before RoPE and value in one layer, side by side.

    native   key | value
    int8     key codes | value codes | a step for every head
    int4     key codes | value codes | a step for every group of value channels | its lowest value, likewise

Rows are padded to whole 8-byte words, so that copies move wide elements. What the tokens of a stored chunk
share, steps (int4: and lowest values) of the key channels, is kept beside the rows: once per chunk and layer.
"""

from __future__ import annotations

from typing import Literal

from core.errors import InputError

Precision = Literal["native", "int8", "int4"]

WORD_BYTES = 8
"""Rows are multiples of it."""

SCALE_BYTES = 2
"""Of a step or a lowest value: bfloat16; see core/memory/rows.py for why."""

MOST_GROUP_CHANNELS = 64
"""Channels of a value that share a step at int4."""


def row_bytes(precision: Precision, num_heads: int, head_dim: int, element_bytes: int) -> int:
    """Bytes of one token's key and value in one layer, padded to whole words.

    Args:
        precision: How keys and values are kept.
        num_heads: Attention heads of the layer.
        head_dim: Channels of a head.
        element_bytes: Of a number at `native` (2 for bfloat16, 4 for float32).

    Raises:
        InputError: A size is not positive, or the channels do not come in pairs.
    """
    _check(num_heads, head_dim, element_bytes)
    codes = 2 * code_bytes(precision, num_heads, head_dim, element_bytes)
    used = codes + value_numbers(precision, num_heads, head_dim) * SCALE_BYTES
    return -(-used // WORD_BYTES) * WORD_BYTES


def scale_bytes(precision: Precision, num_heads: int, head_dim: int) -> int:
    """Bytes of what is kept once per stored chunk and layer; 0 at `native`.

    Raises:
        InputError: As `row_bytes`.
    """
    return key_numbers(precision, num_heads, head_dim) * SCALE_BYTES


def code_bytes(precision: Precision, num_heads: int, head_dim: int, element_bytes: int) -> int:
    """Bytes of the numbers or codes of one key or one value."""
    width = num_heads * head_dim
    return {"native": width * element_bytes, "int8": width, "int4": width // 2}[precision]


def key_numbers(precision: Precision, num_heads: int, head_dim: int) -> int:
    """Numbers that the keys of a stored chunk share in one layer: a step a channel, at int4 also its lowest.

    Raises:
        InputError: As `row_bytes`.
    """
    _check(num_heads, head_dim, 1)
    return {"native": 0, "int8": 1, "int4": 2}[precision] * num_heads * head_dim


def value_numbers(precision: Precision, num_heads: int, head_dim: int) -> int:
    """Numbers in the row that turn the value's codes back: a step a head, or step and lowest a group."""
    groups = num_heads * value_groups(head_dim)
    return {"native": 0, "int8": num_heads, "int4": 2 * groups}[precision]


def value_groups(head_dim: int) -> int:
    """Equal groups into which int4 cuts the channels of a head: the fewest of at most 64 channels each."""
    least = -(-head_dim // MOST_GROUP_CHANNELS)
    return next(groups for groups in range(least, head_dim + 1) if head_dim % groups == 0)


def _check(num_heads: int, head_dim: int, element_bytes: int) -> None:
    if min(num_heads, head_dim, element_bytes) < 1 or head_dim % 2:
        raise InputError(
            f"{num_heads} heads of {head_dim} channels of {element_bytes} bytes do not make a row",
            where="rows",
            hint="sizes are positive, and the channels of a head come in pairs, as RoPE turns them",
        )
