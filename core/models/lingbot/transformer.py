"""LingBot's network from its files: known from headers, compared with ours, then loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from core.models.checkpoint.load import load_into
from core.models.checkpoint.shards import Weights, open_weights
from core.models.lingbot.config import infer_config, read_recorded
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
        weights: Where its tensors lie.
    """

    config: WanConfig
    weights: Weights


def open_transformer(path: Path) -> TransformerFiles:
    """Look whether a network's files are whole and LingBot's, from headers alone.

    Args:
        path: Folder of the weights, their index, or their only file.

    Raises:
        ModelFilesError: Files are missing, cut short or unreadable, or hold something else.
    """
    weights = open_weights(path)
    where = str(weights.source)
    config = infer_config(weights.shapes, read_recorded(weights.source.parent), where=where)
    expected = {name: tuple(tensor.shape) for name, tensor in _empty(config).state_dict().items()}
    check_shapes(expected, weights.shapes, where=where, hint=_HINT)
    return TransformerFiles(config=config, weights=weights)


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


def _empty(config: WanConfig) -> WanNetwork:
    """The network without a byte of weights."""
    with torch.device("meta"):
        return WanNetwork(config)
