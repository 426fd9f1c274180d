"""Names, shapes and counts that follow from a configuration, against golden list and network."""

import pytest
import torch

from core.errors import ModelFilesError
from core.models.wan.vae import empty_network
from core.models.wan.vae_config import WAN_VAE, VaeConfig
from core.models.wan.vae_files import infer_config
from core.models.wan.vae_keys import diffusers_key
from core.models.wan.vae_layout import num_parameters, tensor_shapes
from tests.golden_lingbot import MANIFEST
from tests.tiny_vae import KEY_MAP

OTHER = VaeConfig(
    base_dim=6,
    z_dim=3,
    dim_mult=(1, 3, 3),
    num_res_blocks=1,
    temporal_downsample=(True, False),
    latent_mean=(0.0, 0.0, 0.0),
    latent_std=(1.0, 1.0, 1.0),
)


def test_every_official_key_becomes_diffusers_key() -> None:
    mapped = {name: diffusers_key(name, num_res_blocks=2) for name in KEY_MAP}
    assert len(mapped) == 194
    assert mapped == {name: target for name, (target, _) in KEY_MAP.items()}
    assert len(set(mapped.values())) == 194


def test_shapes_of_the_released_checkpoint() -> None:
    assert tensor_shapes(WAN_VAE) == {name: tuple(shape) for name, (_, shape) in KEY_MAP.items()}
    assert num_parameters(WAN_VAE) == MANIFEST["checkpoint"]["vae"]["parameters"] == 126_892_531


def test_latent_statistics_are_the_released_ones() -> None:
    checkpoint = MANIFEST["checkpoint"]["vae"]
    assert list(WAN_VAE.latent_mean) == checkpoint["latent_mean"]
    assert list(WAN_VAE.latent_std) == checkpoint["latent_std"]
    assert (WAN_VAE.temporal_stride, WAN_VAE.spatial_stride) == (4, 8)


@pytest.mark.parametrize("config", [WAN_VAE, OTHER], ids=["released", "other"])
def test_layout_is_that_of_the_network(config: VaeConfig) -> None:
    network = empty_network(config)
    assert next(network.parameters()).device == torch.device("meta")
    ours = {
        diffusers_key(name, num_res_blocks=config.num_res_blocks): shape
        for name, shape in tensor_shapes(config).items()
    }
    assert ours == {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def test_sizes_are_read_from_shapes() -> None:
    for config in (
        WAN_VAE,
        VaeConfig(base_dim=4),
        VaeConfig(base_dim=8, dim_mult=(2, 2, 3), num_res_blocks=3, temporal_downsample=(True, False)),
    ):
        assert infer_config(tensor_shapes(config), where="file") == config


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"dim_mult": (1,), "temporal_downsample": ()}, "stages at least two"),
        ({"base_dim": 0}, "sizes must be positive"),
        ({"temporal_downsample": (True,)}, "4 stages have 3 steps between them, not 1"),
        ({"z_dim": 15}, "15 latent channels, but 16 means and 16 deviations"),
        ({"latent_std": (0.0,) * 16}, "must be positive, got 0.0"),
    ],
)
def test_impossible_configurations_are_refused(changes: dict[str, object], problem: str) -> None:
    with pytest.raises(ModelFilesError) as error:
        VaeConfig(**({"base_dim": 4} | changes))
    assert problem in error.value.problem
