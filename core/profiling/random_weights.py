"""Networks and codecs of any size with random weights: no download tells what a machine can do."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from core.models.wan.config import WanConfig
from core.models.wan.network import WanNetwork
from core.models.wan.vae import WanVae, empty_network
from core.models.wan.vae_config import VaeConfig
from core.models.wan.weights import build_network
from core.models.wan.weights_placement import WeightPlacement

_GAINS = ("gamma", "norm_q.weight", "norm_k.weight", "norm3.weight")


def random_network(
    config: WanConfig, placement: WeightPlacement, device: torch.device, dtype: torch.dtype
) -> WanNetwork:
    """A network whose tensors are made where they will lie, one at a time."""
    tensors = random_tensors(config, device, dtype)
    return build_network(config, tensors, placement=placement, device=device, dtype=dtype)


def random_tensors(
    config: WanConfig, device: torch.device, dtype: torch.dtype
) -> Iterator[tuple[str, Tensor]]:
    """Names and values of a network's tensors."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in WanNetwork(config).state_dict().items()}
    for name, shape in shapes.items():
        yield name, _filled(name, torch.empty(shape, device=device, dtype=dtype))


def random_vae(config: VaeConfig, device: torch.device, dtype: torch.dtype = torch.float32) -> WanVae:
    """A codec.

    Raises:
        ModelFilesError: diffusers is not installed.
    """
    network = empty_network(config).to_empty(device=device).eval().requires_grad_(requires_grad=False)
    for name, parameter in network.named_parameters():
        parameter.data = _filled(name, parameter.data).to(dtype)
    return WanVae.of(config, network)


def _filled(name: str, tensor: Tensor) -> Tensor:
    """Values with which activations neither vanish nor overflow."""
    one_for_each = tensor.ndim == 1 and name.endswith("weight")  # gains of other norms
    if name.endswith(_GAINS) or one_for_each:
        return tensor.fill_(1.0)
    if name.endswith("bias"):
        return tensor.zero_()
    if "modulation" in name:
        return tensor.normal_(0.0, 0.1)
    return tensor.normal_(0.0, 0.7 / tensor[0].numel() ** 0.5)
