"""A causal Wan network on disk: compared with ours from headers alone, then loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from core.models.checkpoint.load import load_into
from core.models.checkpoint.shards import Weights
from core.models.tensors import check_shapes
from core.models.wan.config import WanConfig
from core.models.wan.network import WanNetwork
from core.models.wan.weights import NetworkBuilder
from core.models.wan.weights_placement import WeightPlacement

_HINT = "fetch the checkpoint again"


@dataclass(frozen=True)
class TransformerFiles:
    """A network on disk: every tensor is there and has the right shape, none is read.

    Attributes:
        config: Its sizes.
        weights: Where its tensors lie, by the network's names.
        stored: All that the files hold, by their own names: there may be tensors that nobody uses.
    """

    config: WanConfig
    weights: Weights
    stored: Weights


def check_network(config: WanConfig, weights: Weights, stored: Weights) -> TransformerFiles:
    """Compare every tensor with the network's.

    Args:
        config: Sizes of the network.
        weights: Where its tensors lie, by the network's names.
        stored: All that the files hold, by their own names.

    Raises:
        ModelFilesError: Some are missing, mis-shaped or unknown.
    """
    with torch.device("meta"):
        network = WanNetwork(config)
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    check_shapes(expected, weights.shapes, where=str(weights.source), hint=_HINT)
    return TransformerFiles(config=config, weights=weights, stored=stored)


def load_transformer(
    files: TransformerFiles,
    *,
    device: torch.device,
    dtype: torch.dtype,
    placement: WeightPlacement = WeightPlacement(),  # noqa: B008 - frozen
    on_progress: Callable[[int, int], None] | None = None,
) -> WanNetwork:
    """Load a network.

    Args:
        files: What it is loaded from.
        device: Where it computes.
        dtype: Of its weights; on disk they may be wider.
        placement: Where its weights lie.
        on_progress: Told after each tensor how many bytes of the files are done, and of how many.

    Raises:
        ModelFilesError: A file cannot be read, or changed since it was opened.
    """
    builder = NetworkBuilder(files.config, placement=placement, device=device, dtype=dtype)
    load_into(
        builder.network,
        files.weights,
        device=device,
        dtype=dtype,
        place=builder.place,
        on_progress=on_progress,
    )
    return builder.finish()
