"""Rows of the bank: exact natively, within half a step in 8 and 4 bits, whatever order they are read in."""

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InputError
from core.memory import rows as rows_module
from core.memory.row_bytes import Precision, key_numbers, row_bytes, scale_bytes, value_groups, value_numbers
from core.memory.rows import RowFormat

PRECISIONS = get_args(Precision)
CODED = ("int8", "int4")
DTYPES = (torch.bfloat16, torch.float16, torch.float32)
HEADS, DIM, TOKENS = 3, 6, 13
NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tokens(dtype, *, batch=1, count=TOKENS, heads=HEADS, dim=DIM, seed=0):
    keys, values = noise(2, batch, count, heads, dim, seed=seed).to(dtype)
    return keys, values


def round_trip(layout, keys, values):
    rows, scales = layout.pack(keys, values)
    if scales is None:
        return layout.unpack(rows, None, None)
    return layout.unpack(rows, scales[:, None], torch.zeros(rows.shape[1], dtype=torch.int64))


def bits(numbers):
    return numbers.contiguous().view(torch.uint8)


def largest_error(exact, precision, dim, dtype):
    """Half a step, derived from the numbers that share it, and a rounding of the native type."""
    low, high = exact.amin(dim, keepdim=True), exact.amax(dim, keepdim=True)
    magnitude = torch.maximum(high, -low)
    if precision == "int8":
        step = magnitude / 127
    else:  # what is lowest is kept as a bfloat16 that is not larger
        spread = high - low + (0 if dtype == torch.bfloat16 else 2**-7 * low.abs())
        step = spread / 15
    info = torch.finfo(dtype)
    step = step * (1 + 2**-8) + 2 * torch.finfo(torch.float32).tiny
    rounding = magnitude * info.eps / 2 + info.tiny * info.eps
    return step / 2 * (1 + 1e-4) + rounding * 1.01


def outliers(shape):
    numbers = noise(*shape)
    numbers[..., 1] *= 1000
    numbers[..., 2] *= 1e-3
    return numbers


INPUTS = {
    "random": lambda shape: noise(*shape),
    "outlier channel": outliers,
    "outlier token": lambda shape: (
        noise(*shape) * torch.tensor([1.0] * (shape[1] - 1) + [300.0])[:, None, None]
    ),
    "far from zero": lambda shape: 100 + noise(*shape) / 10,
    "far below zero": lambda shape: -100 + noise(*shape) / 10,
    "large": lambda shape: noise(*shape).clamp(-4, 4) / 4 * 65504,
    "largest of float16": lambda shape: torch.full(shape, -65504.0),
    "constant": lambda shape: torch.full(shape, -0.3),
    "zero": lambda shape: torch.zeros(shape),
    "tiny": lambda shape: noise(*shape) * 1e-7,
    "tiniest": lambda shape: noise(*shape) * 1e-38,
}


@pytest.mark.parametrize("name", list(INPUTS))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("precision", CODED)
def test_numbers_are_off_by_at_most_half_a_step(precision, dtype, name):
    dim = 130 if precision == "int4" else DIM  # five groups of 26 channels
    numbers = INPUTS[name]((2, TOKENS, HEADS, dim)).to(dtype)
    assert numbers.isfinite().all()
    keys, values = round_trip(RowFormat(precision, HEADS, dim, dtype), numbers, numbers.flip(1))
    assert keys.dtype == values.dtype == dtype
    exact = numbers.double()
    assert ((keys.double() - exact).abs() <= largest_error(exact, precision, 1, dtype)).all()
    groups = 1 if precision == "int8" else 5
    grouped, got = (x.double().unflatten(-1, (groups, -1)) for x in (numbers.flip(1), values))
    assert ((got - grouped).abs() <= largest_error(grouped, precision, -1, dtype)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("precision", CODED)
def test_zeros_stay_zeros(precision, dtype):
    keys, values = tokens(dtype)
    keys[:, :, 1, 2] = 0
    values[:, 4] = 0
    back_keys, back_values = round_trip(RowFormat(precision, HEADS, DIM, dtype), keys, values)
    assert not back_keys[:, :, 1, 2].any()
    assert not back_values[:, 4].any()
    assert back_keys[:, :, 0].any()
    assert back_values[:, 3].any()


def test_a_bfloat16_channel_without_spread_is_exact_in_4_bits():
    keys = noise(HEADS, DIM).to(torch.bfloat16).expand(1, TOKENS, HEADS, DIM)
    back, _ = round_trip(RowFormat("int4", HEADS, DIM, torch.bfloat16), keys, keys)
    assert torch.equal(back, keys)


def test_an_outlier_channel_costs_the_others_nothing():
    layout = RowFormat("int4", HEADS, DIM, torch.float32)
    keys, values = tokens(torch.float32)
    loud = keys.clone()
    loud[..., 1] *= 1e6
    quiet = [0, 2, 3, 4, 5]
    before, after = round_trip(layout, keys, values)[0], round_trip(layout, loud, values)[0]
    assert torch.equal(before[..., quiet], after[..., quiet])


@pytest.mark.parametrize("dtype", DTYPES)
def test_native_rows_are_exact_bit_by_bit(dtype):
    keys, values = tokens(dtype, batch=2)
    keys[0, 0, 0, :4] = torch.tensor([float("nan"), float("inf"), -0.0, torch.finfo(dtype).tiny / 2])
    back = round_trip(RowFormat("native", HEADS, DIM, dtype), keys, values)
    for got, wanted in zip(back, (keys, values), strict=True):
        assert torch.equal(bits(got), bits(wanted))


@pytest.mark.parametrize("strange", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("precision", CODED)
def test_what_is_not_finite_spoils_what_shares_its_step_and_nothing_else(precision, dtype, strange):
    layout = RowFormat(precision, HEADS, DIM, dtype)
    keys, values = tokens(dtype)
    clean = round_trip(layout, keys, values)
    keys[0, 3, 1, 2] = strange
    values[0, 5, 2, 0] = strange
    assert layout.pack(keys, values).scales[0].view(-1, HEADS, DIM)[0].isnan().nonzero().tolist() == [[1, 2]]
    back_keys, back_values = round_trip(layout, keys, values)
    spoilt_keys, spoilt_values = (
        torch.zeros_like(keys, dtype=torch.bool),
        torch.zeros_like(values, dtype=torch.bool),
    )
    spoilt_keys[0, :, 1, 2] = True
    spoilt_values[0, 5, 2] = True
    for got, before, spoilt in zip(
        (back_keys, back_values), clean, (spoilt_keys, spoilt_values), strict=True
    ):
        assert got[spoilt].isnan().all()
        assert torch.equal(got[~spoilt], before[~spoilt])


def test_a_code_out_of_range_keeps_to_its_half_of_the_byte():
    """What a NaN becomes as a whole number is the processor's choice: 255, say."""
    packed = torch.zeros((1, 1, 1), dtype=torch.uint8)
    rows_module._write_codes(packed, torch.tensor([[[255.0, 3.0]]]))
    assert packed.item() == 3 << 4 | 15


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_rows_are_whole_and_their_padding_never_leaks(precision, dtype):
    """Fresh memory is full of ones here: every byte of a row is written, and padding says nothing."""
    layout = RowFormat(precision, 3, 2, dtype)
    used = {"native": 12 * dtype.itemsize, "int8": 12 + 6, "int4": 6 + 12}[precision]
    keys, values = tokens(dtype, heads=3, dim=2)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)  # fills what torch.empty returns
    try:
        assert torch.empty(1, dtype=torch.int64).item() != 0
        rows, scales = layout.pack(keys, values)
    finally:
        torch.use_deterministic_algorithms(before)
    again = layout.pack(keys, values)
    assert torch.equal(rows, again.rows)
    assert not rows.view(torch.uint8)[..., used:].any()
    spoilt = rows.clone()
    spoilt.view(torch.uint8)[..., used:] = 0xFF
    chunk = None if scales is None else torch.zeros(TOKENS, dtype=torch.int64)
    shared = None if scales is None else scales[:, None]
    for clean, other in zip(
        layout.unpack(rows, shared, chunk), layout.unpack(spoilt, shared, chunk), strict=True
    ):
        assert torch.equal(clean, other)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), precision=st.sampled_from(PRECISIONS), dtype=st.sampled_from(DTYPES))
def test_tokens_of_several_chunks_in_any_order(data, precision, dtype):
    counts = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=4))
    batch = data.draw(st.integers(1, 2))
    layout = RowFormat(precision, 2, 4, dtype)
    chunks = [
        tokens(dtype, batch=batch, count=count, heads=2, dim=4, seed=seed)
        for seed, count in enumerate(counts)
    ]
    packed = [layout.pack(*chunk) for chunk in chunks]
    each = [round_trip(layout, *chunk) for chunk in chunks]
    owner = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    picks = data.draw(st.lists(st.integers(0, max(0, len(owner) - 1)), max_size=20 if len(owner) else 0))
    order = torch.tensor(picks, dtype=torch.int64)
    pool = torch.cat([rows for rows, _ in packed], dim=1)
    coded = precision != "native"
    scales = torch.stack([shared for _, shared in packed], dim=1) if coded else None
    got = layout.unpack(pool[:, order], scales, owner[order] if coded else None)
    for part, wanted in zip(got, zip(*each, strict=True), strict=True):
        assert torch.equal(part, torch.cat(wanted, dim=1)[:, order])


@pytest.mark.parametrize("precision", CODED)
def test_blocks_and_batches_change_nothing(monkeypatch, precision):
    layout = RowFormat(precision, HEADS, DIM, torch.bfloat16)
    keys, values = tokens(torch.bfloat16, batch=2)
    whole, back = layout.pack(keys, values), round_trip(layout, keys, values)
    monkeypatch.setitem(rows_module.BLOCK_NUMBERS, "cpu", 2 * 4 * HEADS * DIM)  # four tokens at a time
    for got, wanted in zip(layout.pack(keys, values), whole, strict=True):
        assert torch.equal(got, wanted)
    for got, wanted in zip(round_trip(layout, keys, values), back, strict=True):
        assert torch.equal(got, wanted)
    for i in range(2):
        alone = layout.pack(keys[i : i + 1], values[i : i + 1])
        assert torch.equal(alone.rows[0], whole.rows[i])
        assert torch.equal(alone.scales[0], whole.scales[i])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_views_of_a_larger_tensor(precision):
    """As attention hands them over: keys and values are parts of one tensor, tokens are chosen."""
    layout = RowFormat(precision, HEADS, DIM, torch.float32)
    both = noise(1, TOKENS, 2, HEADS, DIM)
    keys, values = both[:, ::2, 0], both[:, ::2, 1]
    got = layout.pack(keys, values)
    assert torch.equal(got.rows, layout.pack(keys.clone(), values.clone()).rows)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_tokens(precision, dtype):
    layout = RowFormat(precision, HEADS, DIM, dtype)
    keys, values = tokens(dtype, batch=2, count=0)
    rows, scales = layout.pack(keys, values)
    assert rows.shape == (2, 0, layout.row_words)
    assert (0 if scales is None else scales.shape[1]) == layout.num_scales
    back = round_trip(layout, keys, values)
    assert [part.shape for part in back] == [keys.shape, values.shape]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_nothing_is_read_back_from_the_device(precision):
    """Tensors without data have shapes only: whatever looked at numbers would fail."""
    layout = RowFormat(precision, HEADS, DIM, torch.bfloat16)
    keys = torch.empty((1, TOKENS, HEADS, DIM), dtype=torch.bfloat16, device="meta")
    rows, scales = layout.pack(keys, keys)
    coded = scales is not None
    index = torch.empty(TOKENS, dtype=torch.int64, device="meta") if coded else None
    back = layout.unpack(rows, scales[:, None] if coded else None, index)
    assert [(part.device.type, part.shape) for part in back] == 2 * [("meta", keys.shape)]


@pytest.mark.cuda
@NEEDS_CUDA
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_gpu_packs_and_unpacks_without_waiting(precision, dtype):
    layout = RowFormat(precision, 40, 128, dtype)
    keys, values = tokens(dtype, count=300, heads=40, dim=128)
    wanted = round_trip(layout, keys, values)
    on_gpu = [part.cuda() for part in (keys, values)]
    index = torch.zeros(300, dtype=torch.int64, device="cuda")
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        rows, scales = layout.pack(*on_gpu)
        native = scales is None
        back = layout.unpack(rows, None if native else scales[:, None], None if native else index)
    finally:
        torch.cuda.set_sync_debug_mode(before)
    for got, other, exact in zip(back, wanted, (keys, values), strict=True):
        if native:
            assert torch.equal(got.cpu(), exact)
        else:  # a number half-way between two codes may fall to either side
            assert (got.cpu().float() - exact.float()).norm() <= 1.001 * (
                other.float() - exact.float()
            ).norm()


@pytest.mark.parametrize(
    ("precision", "heads", "dim", "element", "row", "shared"),
    [
        ("native", 40, 128, 2, 20480, 0),
        ("int8", 40, 128, 2, 10320, 10240),
        ("int4", 40, 128, 2, 5440, 20480),
        ("native", 12, 128, 2, 6144, 0),
        ("int8", 6, 32, 4, 400, 384),
        ("int4", 6, 32, 4, 216, 768),
        ("native", 1, 2, 2, 8, 0),
        ("int8", 1, 2, 2, 8, 4),
        ("int8", 3, 6, 2, 48, 36),
        ("int4", 1, 2, 4, 8, 8),
    ],
)
def test_bytes(precision, heads, dim, element, row, shared):
    assert row_bytes(precision, heads, dim, element) == row
    assert scale_bytes(precision, heads, dim) == shared
    layout = RowFormat(precision, heads, dim, torch.bfloat16 if element == 2 else torch.float32)
    assert 8 * layout.row_words == row
    assert layout.num_scales == key_numbers(precision, heads, dim)
    packed = layout.pack(*tokens(layout.dtype, heads=heads, dim=dim))
    assert packed.rows.nbytes == TOKENS * row
    assert (0 if packed.scales is None else packed.scales.nbytes) == shared


@pytest.mark.parametrize(("dim", "groups"), [(2, 1), (64, 1), (66, 2), (80, 2), (128, 2), (130, 5), (160, 4)])
def test_groups_of_a_value_are_equal_and_small(dim, groups):
    assert value_groups(dim) == groups
    assert value_numbers("int4", 3, dim) == 2 * 3 * groups


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("int8", 0, 4, torch.float32), "0 heads of 4 channels"),
        (("int8", 2, 5, torch.float32), "2 heads of 5 channels"),
        (("native", 2, 4, torch.float64), "not float64"),
    ],
)
def test_formats_that_do_not_exist(arguments, problem):
    with pytest.raises(InputError, match=problem) as caught:
        RowFormat(*arguments)
    assert caught.value.hint


def test_codes_without_their_scales():
    layout = RowFormat("int8", HEADS, DIM, torch.float32)
    rows, scales = layout.pack(*tokens(torch.float32))
    with pytest.raises(InputError, match="cannot be read without"):
        layout.unpack(rows, None, torch.zeros(TOKENS, dtype=torch.int64))
    with pytest.raises(InputError, match="cannot be read without"):
        layout.unpack(rows, scales[:, None], None)
