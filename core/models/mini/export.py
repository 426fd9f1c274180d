"""Turns a training checkpoint into the packaged weights: `python -m core.models.mini.export train`."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from core.models.mini.codec import PatchCodec
from core.models.mini.config import LATENT_CHANNELS, MiniConfig
from core.models.mini.model import WEIGHTS, MiniModel
from core.models.wan.network import WanNetwork


def from_checkpoint(folder: Path) -> MiniModel:
    """The running average of a training run, as a model."""
    state = torch.load(folder / "checkpoint.pt", map_location="cpu", weights_only=True)
    config = MiniConfig.from_dict(state["config"])
    network, codec = WanNetwork(config.network), PatchCodec(LATENT_CHANNELS)
    network.load_state_dict({k.replace("_orig_mod.", ""): v for k, v in state["average"].items()})
    codec.load_state_dict(state["codec"])
    return MiniModel(config, network.eval(), codec.eval())


def main() -> None:
    """Command line of the export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with checkpoint.pt")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="file to write")
    args = parser.parse_args()
    from_checkpoint(args.folder).save(args.out)


if __name__ == "__main__":
    main()
