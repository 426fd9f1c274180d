"""Shapes of the network, known without a tensor."""

import dataclasses

import pytest

from core.errors import ModelFilesError
from core.models.mini.config import MiniConfig
from core.models.wan.config import WanConfig
from core.models.wan.network import WanNetwork

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


def test_lingbot_has_the_published_number_of_parameters():
    assert LINGBOT.num_parameters == 18_544_332_864


@pytest.mark.parametrize(
    "config",
    [
        MiniConfig().network,
        dataclasses.replace(LINGBOT, dim=32, ffn_dim=48, num_heads=2, num_layers=2, text_dim=24),
        WanConfig(dim=32, ffn_dim=48, num_heads=2, num_layers=1, in_channels=8, out_channels=4),
    ],
)
def test_parameters_are_counted_right(config):
    assert config.num_parameters == sum(p.numel() for p in WanNetwork(config).parameters())


def test_impossible_shapes_are_refused():
    with pytest.raises(ModelFilesError, match="does not split"):
        dataclasses.replace(LINGBOT, num_heads=39)
    with pytest.raises(ModelFilesError, match="camera_features"):
        dataclasses.replace(LINGBOT, camera_features=0)
