"""LingBot's network from its files: known from headers, compared with ours, then loaded."""

from __future__ import annotations

from pathlib import Path

from core.models.checkpoint.shards import open_weights
from core.models.lingbot.config import infer_config, read_recorded
from core.models.wan.network_files import TransformerFiles, check_network, load_transformer

__all__ = ["TransformerFiles", "load_transformer", "open_transformer"]


def open_transformer(path: Path) -> TransformerFiles:
    """Look whether a network's files are whole and LingBot's, from headers alone.

    Args:
        path: Folder of the weights, their index, or their only file.

    Raises:
        ModelFilesError: Files are missing, cut short or unreadable, or hold something else.
    """
    weights = open_weights(path)
    recorded = read_recorded(weights.source.parent)
    config = infer_config(weights.shapes, recorded, where=str(weights.source))
    return check_network(config, weights, stored=weights)
