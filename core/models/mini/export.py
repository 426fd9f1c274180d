"""Turns a training checkpoint into the packaged weights: `python -m core.models.mini.export train`."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file

from core.models.mini.codec import PatchCodec
from core.models.mini.config import LATENT_CHANNELS, MiniConfig
from core.models.mini.model import WEIGHTS, MiniModel
from core.models.mini.sharpen import Sharpener
from core.models.wan.network import WanNetwork

SHARPENER_FILE = "sharpener.safetensors"


def from_checkpoint(folder: Path) -> MiniModel:
    """The running average of a training run, as a model; with the learned decoder if it was trained."""
    state = torch.load(folder / "checkpoint.pt", map_location="cpu", weights_only=True)
    config = MiniConfig.from_dict(state["config"])
    network, codec = WanNetwork(config.network), PatchCodec(LATENT_CHANNELS)
    network.load_state_dict({k.replace("_orig_mod.", ""): v for k, v in state["average"].items()})
    codec.load_state_dict(state["codec"])
    sharpener = Sharpener()
    if (folder / SHARPENER_FILE).exists():
        sharpener.load_state_dict(load_file(folder / SHARPENER_FILE))
    return MiniModel(config, network.eval(), codec.eval(), sharpener)


def main() -> None:
    """Command line of the export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with checkpoint.pt")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="file to write")
    args = parser.parse_args()
    from_checkpoint(args.folder).save(args.out)


if __name__ == "__main__":
    main()
