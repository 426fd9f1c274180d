"""The fused forms of a block's small parts against the plain formulas."""

import platform

import pytest
import torch
from torch import Tensor

from core.models.wan.layers import layer_norm, modulated_norm

WIDTHS = (3, 17, 64, 100, 128, 512, 1536, 5120)
X86 = platform.machine().lower() in ("x86_64", "amd64")


def inputs(width: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens that are neither centred nor of length 1, and one row of scale and shift for all of them."""
    draw = torch.Generator().manual_seed(width)
    x = 3 * torch.randn(2, 3, 15, width, generator=draw) + 1
    scale, shift = torch.randn(2, 1, 1, 1, width, generator=draw)
    return x.to(dtype), scale.to(dtype), shift.to(dtype)


def plain(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return torch.addcmul(shift, layer_norm(x), 1 + scale)


@pytest.mark.skipif(not X86, reason="the same bits are claimed for what was measured")
@pytest.mark.parametrize("width", WIDTHS)
def test_modulation_as_gain_and_bias_gives_the_same_bits_in_float32(width: int) -> None:
    x, scale, shift = inputs(width, torch.float32)
    assert torch.equal(modulated_norm(x, scale, shift), plain(x, scale, shift))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_modulation_as_gain_and_bias_is_right_within_rounding(width: int, dtype: torch.dtype) -> None:
    x, scale, shift = inputs(width, dtype)
    normed, gain, wide_shift = layer_norm(x.double()), (1 + scale).double(), shift.double()
    size = gain.abs() * (1 + normed.abs()) + wide_shift.abs()
    fused, apart = (form(x, scale, shift).double() for form in (modulated_norm, plain))
    eps = torch.finfo(dtype).eps
    assert ((fused - (normed * gain + wide_shift)).abs() / size).max() <= 2 * eps
    assert ((fused - apart).abs() / size).max() <= 2 * eps


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_of_their_own_take_the_plain_formula(dtype: torch.dtype) -> None:
    x, scale, shift = inputs(128, dtype)
    each = modulated_norm(x, scale.expand(2, 3, 1, 128), shift.expand(2, 3, 1, 128))
    assert torch.equal(each, plain(x, scale, shift))
