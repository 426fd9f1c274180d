"""Small Matrix-Game checkpoints on disk, laid out as the released repository: its files, its names, float32.

The sizes are those of the golden network, except that its picture is as wide as a small image tower's tokens.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from safetensors.torch import save_file

from core.models.matrix_game.config import find_variant
from core.models.wan.config import WanConfig
from core.models.wan.network import WanNetwork
from tests import tiny_clip, tiny_vae
from tests.golden_matrix_game import MANIFEST, network_config, weight

PARTS = ("transformer", "vae", "clip")
VAE = MANIFEST["checkpoint"]["vae"]["file"]
CLIP = MANIFEST["checkpoint"]["clip"]["file"]
PREFIX = MANIFEST["checkpoint"]["key_prefix"]

IMAGE_DIM = 80
"""Of one head of a real image tower, so that its file need not tell the number of heads."""

_GAINS = ("key_attn_q_norm.weight", "key_attn_k_norm.weight")
_MOUSE_GAINS = ("img_attn_q_norm.weight", "img_attn_k_norm.weight")


def tiny_config(variant: str = "universal") -> WanConfig:
    """Sizes of the network that `write_checkpoint` writes by default."""
    return replace(network_config(variant), image_dim=IMAGE_DIM)


def write_checkpoint(
    folder: Path,
    variant: str = "universal",
    *,
    config: WanConfig | None = None,
    tensors: Mapping[str, torch.Tensor] | None = None,
    parts: Collection[str] = PARTS,
    recorded: Mapping[str, Any] | None = None,
) -> Path:
    """Write a variant, as `worldkv models pull --to` would have brought it; several may share a folder.

    Args:
        folder: What `--checkpoint` shall name.
        variant: Which network.
        config: Its sizes.
        tensors: Its weights by the names of the file; random ones by default.
        parts: What is written: the transformer, the codec, the image tower.
        recorded: What config.json says; by default what shapes cannot tell.
    """
    config = config or tiny_config(variant)
    folder.mkdir(parents=True, exist_ok=True)
    if "transformer" in parts:
        file = folder / find_variant(variant).file
        file.parent.mkdir(exist_ok=True)
        told = {"num_heads": config.num_heads} if recorded is None else recorded
        (file.parent / "config.json").write_text(json.dumps(told))
        save_file(dict(tensors or random_tensors(config)), file, {"format": "pt"})
    if "vae" in parts:
        tiny_vae.write_vae(folder / VAE)
    if "clip" in parts:
        tiny_clip.write_clip(folder, config=tiny_clip.tower_of_width(config.image_dim))
    return folder


def random_tensors(config: WanConfig) -> dict[str, torch.Tensor]:
    """Weights of any network by the names of the file, unused gains included; activations stay near one."""
    shapes = shapes_of(config) | dict.fromkeys(unused_names(config), (config.actions.head_dim,))
    return {PREFIX + name: _random(name, shape) for name, shape in shapes.items()}


def golden_tensors(variant: str) -> dict[str, torch.Tensor]:
    """The golden weights of a variant by the names of the file; its picture is 1280 wide."""
    config = network_config(variant)
    return {PREFIX + name: weight(name, variant) for name in (*shapes_of(config), *unused_names(config))}


def shapes_of(config: WanConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of a network by its own names."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in WanNetwork(config).state_dict().items()}


def unused_names(config: WanConfig) -> list[str]:
    """Gains of the action norms, by the network's naming: stored, but not used."""
    gains = (*_MOUSE_GAINS, *_GAINS) if config.actions.mouse else _GAINS
    return [f"blocks.{layer}.action_model.{gain}" for layer in config.actions.layers for gain in gains]


def write_released(folder: Path, variant: str) -> Path:
    """A released network's file: 6 GB, of which only the header takes space on the disk.

    Raises:
        OSError: The file system knows no files with holes.
    """
    header, end = {}, 0
    for name, shape in released_shapes(variant).items():
        begin, end = end, end + 4 * torch.Size(shape).numel()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    file = folder / MANIFEST["checkpoint"]["variants"][variant]["file"]
    file.parent.mkdir(parents=True)
    with file.open("wb") as opened:
        opened.write(len(text).to_bytes(8, "little") + text)
        opened.truncate(8 + len(text) + end)
    return file


def released_shapes(variant: str) -> dict[str, tuple[int, ...]]:
    """Every tensor of a released file, by the manifest; `foundation` is the undistilled one."""
    told = MANIFEST["checkpoint"]
    which = told["variants"][variant]
    first, last = which["action_blocks"]
    shapes = dict(told["top_level"])
    for block in range(told["num_blocks"]):
        shapes |= {told["per_block_prefix"].format(N=block) + k: s for k, s in told["per_block"].items()}
        if first <= block <= last:
            prefix = told["per_action_block_prefix"].format(N=block)
            shapes |= {prefix + name: s for name, s in _action_shapes(which).items()}
    return {PREFIX + name: tuple(shape) for name, shape in shapes.items()}


def _action_shapes(which: Mapping[str, Any]) -> dict[str, list[int]]:
    shapes = MANIFEST["checkpoint"]["per_action_block"] | {
        "keyboard_embed.0.weight": [128, which["keyboard_dim"]]
    }
    mouse = ("mouse_mlp.", "t_qkv.", "proj_mouse.", *_MOUSE_GAINS)
    return {name: s for name, s in shapes.items() if which["mouse"] or not name.startswith(mouse)}


def _random(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(crc32(name.encode())))
    if len(shape) == 1 and name.endswith("weight"):
        return 1 + 0.1 * values
    if name.endswith("bias") or "modulation" in name:
        return 0.1 * values
    return 0.7 * values / torch.Size(shape[1:]).numel() ** 0.5
