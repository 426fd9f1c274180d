"""What weights take and where they go, for the 14B network too: no weights needed."""

import dataclasses
import importlib.util

import pytest
import torch

from core.errors import InputError
from core.models.mini.config import MiniConfig
from core.models.wan.block import WanBlock
from core.models.wan.block_bytes import ALIGN_BYTES, QUANTISATIONS, block_bytes, block_shapes
from core.models.wan.config import WanConfig
from core.models.wan.weights_layout import block_layout
from core.models.wan.weights_placement import WeightPlacement, placement_bytes, weight_placements
from tests.tiny_networks import TINY

GIB = 1 << 30
BF16 = torch.bfloat16
LINGBOT = WanConfig(
    dim=5120,
    ffn_dim=13824,
    num_heads=40,
    num_layers=40,
    in_channels=36,
    out_channels=16,
    text_dim=4096,
    camera_features=1536,
    camera_injection="after_attention",
)
WHOLE = 37_088_665_728  # bytes of LingBot in bfloat16
needs_torchao = pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="needs torchao")


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        MiniConfig().network,
        dataclasses.replace(TINY, text_dim=0),
        dataclasses.replace(TINY, camera_features=0, camera_injection="none"),
    ],
)
def test_shapes_are_those_of_a_block(config):
    block = WanBlock(config, 0).state_dict()
    assert block_shapes(config) == {name: tuple(tensor.shape) for name, tensor in block.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "quantisation", [None, *(pytest.param(each, marks=needs_torchao) for each in QUANTISATIONS)]
)
@pytest.mark.parametrize("config", [TINY, LINGBOT])
def test_bytes_of_a_block_are_those_of_its_tensors(config, quantisation, dtype):
    """The formula knows neither torch nor torchao."""
    said, layout = (
        block_bytes(config, dtype.itemsize, quantisation),
        block_layout(config, dtype, quantisation),
    )
    found = (layout.tensor_bytes, layout.packed_bytes, layout.largest_weights)
    assert (said.tensors, said.packed, said.largest_weights) == found


def test_tensors_of_a_packed_block_are_aligned_and_apart():
    layout = block_layout(LINGBOT, BF16, None)
    end = 0
    for parts in layout.parts.values():
        for part in parts:
            assert part.start_bytes % ALIGN_BYTES == 0
            assert part.start_bytes >= end
            end = part.start_bytes + part.num_bytes
    assert end <= layout.packed_bytes < layout.tensor_bytes + ALIGN_BYTES * len(layout.parts)


@pytest.mark.parametrize(
    ("resident", "streamed"),
    [
        (None, ()),
        (8, ()),
        (7, (7,)),
        (6, (3, 7)),
        (4, (1, 3, 5, 7)),
        (3, (1, 3, 4, 6, 7)),
        (0, tuple(range(8))),
    ],
)
def test_streamed_blocks_are_spread(resident, streamed):
    assert WeightPlacement(resident_blocks=resident).streamed_layers(8) == streamed


def test_impossible_placements_are_refused():
    with pytest.raises(InputError, match="at least one slot"):
        WeightPlacement(slots=0)
    with pytest.raises(InputError, match="9 blocks cannot stay"):
        WeightPlacement(resident_blocks=9).streamed_layers(8)


def test_bytes_of_lingbot():
    whole = placement_bytes(LINGBOT, BF16, WeightPlacement())
    assert whole == (WHOLE, 0, 0, 0)
    packed = block_layout(LINGBOT, BF16, None).packed_bytes
    streamed = placement_bytes(LINGBOT, BF16, WeightPlacement(resident_blocks=0))
    assert streamed.host == streamed.streamed == 40 * packed
    assert streamed.device == WHOLE - 40 * block_layout(LINGBOT, BF16, None).tensor_bytes + 2 * packed
    assert streamed.device < 2.5 * GIB
    all_in_slots = placement_bytes(LINGBOT, BF16, WeightPlacement(resident_blocks=38))
    assert all_in_slots.streamed == 0


def test_placements_shrink():
    """From the fastest to the smallest, and each really smaller than the one before."""
    takes = [placement_bytes(LINGBOT, BF16, each).device for each in weight_placements(LINGBOT)]
    assert len(takes) == 39
    assert takes == sorted(takes, reverse=True)
    assert len(set(takes)) == len(takes)


@pytest.mark.parametrize("request_", ["auto", "streamed", "resident"])
def test_quantised_only_if_asked_for(request_):
    assert all(each.quantisation is None for each in weight_placements(LINGBOT, request_))
