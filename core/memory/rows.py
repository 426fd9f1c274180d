"""Keys and values as rows of the bank, in their own precision or in 8 or 4 bits.

Keys of a transformer have a few channels that are much larger than the others and stay so from token to
token; values have none. So the keys of a stored chunk share a step per channel, and a value has its own.

    int8   step = largest magnitude / 127   code = round(x / step)              x ~ code * step
    int4   step = (largest - lowest) / 15   code = round((x - lowest) / step)   x ~ lowest + code * step

`lowest` and `largest` are over the chunk's stored tokens for a channel of the keys; over a head (int8) or a
group of at most 64 of its channels (int4) for a value. No number is off by more than half a step and a
rounding of the native type.

Steps are bfloat16. Its range is that of float32, so neither outlier channels nor tiny ones leave it, as they
would leave float16. That it rounds costs no accuracy, because codes are computed from the rounded step: it is
short by at most 2^-8 of itself, thus the largest code is at most 127 (1 + 2^-8) = 127.496 before rounding, or
15.06, and nothing is clipped. The lowest value is rounded down, so that everything still lies above it; of
bfloat16 numbers it is exact.

Not finite numbers are not hidden: whatever shares a step with one comes back as NaN, and numbers within a
rounding of the largest bfloat16 or float32 come back infinite or NaN. A channel of zeros comes back as
zeros, and at int4 every bfloat16 channel without spread as it was.

Source: Liu et al. 2024, arXiv:2402.02750 (KIVI), section 3: keys per channel, values per token.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import BFloat16, Float, Int64, UInt8
from torch import Tensor

from core.errors import InputError
from core.memory.row_bytes import (
    SCALE_BYTES,
    WORD_BYTES,
    Precision,
    code_bytes,
    key_numbers,
    row_bytes,
    value_groups,
    value_numbers,
)

BLOCK_NUMBERS = {"cpu": 1 << 18}
"""Numbers of keys or values that are in float32 at once: on a CPU what its second cache holds, ..."""

MOST_BLOCK_NUMBERS = 1 << 23
"""... elsewhere 32 MiB, which keep a GPU busy."""

DTYPES = (torch.bfloat16, torch.float16, torch.float32)

SMALLEST_STEP = torch.finfo(torch.float32).tiny
"""Keeps a channel of zeros from dividing by zero, and steps where bfloat16 has all its digits."""


class PackedRows(NamedTuple):
    """Tokens of one chunk of one layer.

    Attributes:
        rows: A row a token.
        scales: What the chunk's tokens share; None at `native`.
    """

    rows: Int64[Tensor, "batch tokens words"]
    scales: BFloat16[Tensor, "batch numbers"] | None


Scale = tuple[BFloat16[Tensor, "..."], ...]
"""How codes become numbers again: the step (int8), or the step and the lowest value (int4)."""


@dataclass(frozen=True)
class RowFormat:
    """Layout of the bank's rows in one layer; see core/memory/row_bytes.py.

    Attributes:
        precision: How keys and values are kept.
        num_heads: Attention heads of the layer.
        head_dim: Channels of a head, an even number.
        dtype: Of keys and values outside the bank: bfloat16, float16 or float32.

    Raises:
        InputError: A size or the type is none of those.
    """

    precision: Precision
    num_heads: int
    head_dim: int
    dtype: torch.dtype

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InputError(
                f"the bank takes bfloat16, float16 and float32, not {str(self.dtype).removeprefix('torch.')}",
                where="rows.dtype",
                hint="choose one of these for the model with --dtype",
            )
        row_bytes(self.precision, self.num_heads, self.head_dim, self.dtype.itemsize)

    @property
    def row_words(self) -> int:
        """8-byte words of a row."""
        return row_bytes(self.precision, self.num_heads, self.head_dim, self.dtype.itemsize) // WORD_BYTES

    @property
    def num_scales(self) -> int:
        """Numbers (bfloat16) kept once per stored chunk and layer; 0 at `native`."""
        return key_numbers(self.precision, self.num_heads, self.head_dim)

    def pack(
        self,
        keys: Float[Tensor, "batch tokens heads head_dim"],
        values: Float[Tensor, "batch tokens heads head_dim"],
    ) -> PackedRows:
        """Rows of the tokens of one chunk; `native` is exact for numbers of the native type.

        Args:
            keys: Keys before RoPE of all tokens of the chunk that are stored; there may be none.
            values: Their values.
        """
        batch, tokens = keys.shape[:2]
        rows = torch.empty((batch, tokens, self.row_words), dtype=torch.int64, device=keys.device)
        rows[..., -1:].zero_()  # all padding lies in the last word
        if self.precision == "native":
            for part, exact in zip(self._native_parts(rows), (keys, values), strict=True):
                part.copy_(exact)
            return PackedRows(rows, None)
        key_scale = self._key_scale(keys)
        key_codes, value_codes = self._codes(rows)
        for block in self._blocks(batch, tokens, keys.device):
            _write_codes(key_codes[:, block], _encoded(keys[:, block].flatten(2), key_scale))
            grouped = values[:, block].reshape(batch, -1, *self._value_groups)
            value_scale = _scale(grouped, dim=-1, parts=self._scale_parts)
            _write_codes(value_codes[:, block], _encoded(grouped, value_scale).flatten(2))
            for target, numbers in zip(self._value_scale(rows[:, block]), value_scale, strict=True):
                target.copy_(numbers)
        return PackedRows(rows, torch.cat(key_scale, dim=1).flatten(1))

    def unpack(
        self,
        rows: Int64[Tensor, "batch tokens words"],
        scales: BFloat16[Tensor, "batch chunks numbers"] | None,
        chunk_index: Int64[Tensor, " tokens"] | None,
    ) -> tuple[Float[Tensor, "batch tokens heads head_dim"], Float[Tensor, "batch tokens heads head_dim"]]:
        """Keys and values of rows in any order, from any chunks, in the native type.

        Args:
            rows: Rows; the words of each side by side in memory.
            scales: What `pack` gave beside them, by chunk; None at `native`.
            chunk_index: For every row, which of these chunks it belongs to; None at `native`.

        Returns:
            Keys and values; at `native` these are views of the rows, not copies.

        Raises:
            InputError: The scales or the index are missing.
        """
        if self.precision == "native":
            return self._native_parts(rows)
        if scales is None or chunk_index is None:
            raise InputError(
                f"rows in {self.precision} cannot be read without their chunks' scales",
                where="rows.unpack",
                hint="hand in the scales that pack returned, and the chunk of every row",
            )
        batch, tokens = rows.shape[:2]
        shape = (batch, tokens, self.num_heads * self.head_dim)
        keys, values = (torch.empty(shape, dtype=self.dtype, device=rows.device) for _ in range(2))
        key_codes, value_codes = self._codes(rows)
        for block in self._blocks(batch, tokens, rows.device):
            key_scale = scales.index_select(1, chunk_index[block]).chunk(self._scale_parts, dim=-1)
            _read_codes(key_codes[:, block], keys[:, block])
            _decode(keys[:, block], key_scale)
            _read_codes(value_codes[:, block], values[:, block])
            grouped = values[:, block].unflatten(-1, self._value_groups)
            _decode(grouped, self._value_scale(rows[:, block]))
        heads = (self.num_heads, self.head_dim)
        return keys.unflatten(-1, heads), values.unflatten(-1, heads)

    @property
    def _scale_parts(self) -> int:
        """Numbers in a `Scale`."""
        return 1 if self.precision == "int8" else 2

    @property
    def _value_groups(self) -> tuple[int, int]:
        """Groups of a value that have a step of their own, and channels of each."""
        each = value_groups(self.head_dim) if self.precision == "int4" else 1
        return self.num_heads * each, self.head_dim // each

    def _native_parts(
        self, rows: Int64[Tensor, "batch tokens words"]
    ) -> tuple[Float[Tensor, "batch tokens heads head_dim"], Float[Tensor, "batch tokens heads head_dim"]]:
        width = self.num_heads * self.head_dim
        numbers = rows.view(self.dtype)[..., : 2 * width].unflatten(-1, (2, self.num_heads, self.head_dim))
        return numbers[..., 0, :, :], numbers[..., 1, :, :]

    def _codes(
        self, rows: Int64[Tensor, "batch tokens words"]
    ) -> tuple[UInt8[Tensor, "batch tokens code_bytes"], UInt8[Tensor, "batch tokens code_bytes"]]:
        """The codes of keys and values within rows."""
        each = code_bytes(self.precision, self.num_heads, self.head_dim, self.dtype.itemsize)
        content = rows.view(torch.uint8)
        return content[..., :each], content[..., each : 2 * each]

    def _value_scale(self, rows: Int64[Tensor, "batch tokens words"]) -> Scale:
        """The values' steps and lowest values within rows, of shape batch tokens groups 1."""
        codes = 2 * code_bytes(self.precision, self.num_heads, self.head_dim, self.dtype.itemsize)
        start, count = codes // SCALE_BYTES, value_numbers(self.precision, self.num_heads, self.head_dim)
        numbers = rows.view(torch.bfloat16)[..., start : start + count, None]
        return numbers.chunk(self._scale_parts, dim=-2)

    def _key_scale(self, keys: Float[Tensor, "batch tokens heads head_dim"]) -> Scale:
        """Steps and lowest values of the keys' channels, of shape batch 1 channels."""
        flat = keys.flatten(2)
        if not flat.shape[1]:  # nothing has no range; what is said of it is never used
            flat = flat.new_zeros((flat.shape[0], 1, flat.shape[2]))
        return _scale(flat, dim=1, parts=self._scale_parts)

    def _blocks(self, batch: int, tokens: int, device: torch.device) -> Iterator[slice]:
        """Tokens that are worked on together, so that float32 copies stay small."""
        numbers = BLOCK_NUMBERS.get(device.type, MOST_BLOCK_NUMBERS)
        size = max(1, numbers // max(1, batch * self.num_heads * self.head_dim))
        yield from (slice(start, min(start + size, tokens)) for start in range(0, tokens, size))


def _scale(numbers: Float[Tensor, "..."], *, dim: int, parts: int) -> Scale:
    """Scale of the numbers along an axis."""
    # torch.aminmax does both in one pass, but a CPU takes four times as long for it.
    smallest = numbers.amin(dim, keepdim=True).float()
    largest = numbers.amax(dim, keepdim=True).float()
    lowest = [_rounded_down(smallest)] if parts == 2 else []
    step = (largest - lowest[0]) / 15 if lowest else torch.maximum(largest, -smallest) / 127
    step = step.clamp_min(SMALLEST_STEP).to(torch.bfloat16)
    # NaN times any code is NaN; infinity times the code of a NaN, which may be any, is not always.
    return torch.where(step.isfinite(), step, torch.nan), *lowest


def _rounded_down(numbers: Float[Tensor, "*shape"]) -> BFloat16[Tensor, "*shape"]:
    """The next bfloat16 that is not larger."""
    bits = numbers.contiguous().view(
        torch.int32
    )  # a bfloat16 is the upper half of a float32: sign, magnitude
    away = torch.where(bits < 0, bits + 0xFFFF, bits)
    return (away & -0x10000).view(torch.float32).to(torch.bfloat16)


def _encoded(numbers: Float[Tensor, "*shape"], scale: Scale) -> Float[Tensor, "*shape"]:
    """Codes, still as float32 numbers."""
    codes = numbers.to(torch.float32, copy=True)
    step, *lowest = scale
    for low in lowest:
        codes.sub_(low)
    return codes.mul_(step.float().reciprocal()).round_()


def _write_codes(
    target: UInt8[Tensor, "batch tokens code_bytes"], codes: Float[Tensor, "batch tokens channels"]
) -> None:
    """Codes as bytes; two 4-bit ones share a byte, the second half of the channels its upper bits."""
    if target.shape[-1] == codes.shape[-1]:
        target.view(torch.int8).copy_(codes)
        return
    low, high = codes.to(torch.uint8).chunk(2, dim=-1)
    torch.bitwise_or(low & 15, high << 4, out=target)  # the mask: a NaN's code may be any byte


def _read_codes(
    codes: UInt8[Tensor, "batch tokens code_bytes"], target: Float[Tensor, "batch tokens channels"]
) -> None:
    """The inverse of `_write_codes`, into numbers of the native type."""
    if codes.shape[-1] == target.shape[-1]:
        target.copy_(codes.view(torch.int8))
        return
    low, high = target.chunk(2, dim=-1)
    low.copy_(codes & 15)
    high.copy_(codes >> 4)


def _decode(codes: Float[Tensor, "..."], scale: Scale) -> None:
    """Codes become numbers, in place; one rounding to the native type at the end."""
    step, *lowest = scale
    if lowest:
        torch.addcmul(lowest[0], codes, step, out=codes)
    else:
        codes.mul_(step)
    if codes.dtype == torch.float16:  # 127 steps may be a rounding more than its largest number
        largest = torch.finfo(torch.float16).max
        codes.clamp_(-largest, largest)
