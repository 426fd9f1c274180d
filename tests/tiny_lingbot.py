"""Small LingBot checkpoints on disk in the layouts of the released ones: same file names, shards, float32.

The sizes are those of the golden network, except that its text is what `tests.tiny_text`'s encoder gives.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import torch

from core.models.wan.config import WanConfig
from core.models.wan.network import WanNetwork
from tests import tiny_text, tiny_vae
from tests.core.models.checkpoint.writing import write_shards
from tests.golden_lingbot import network

Layout = Literal["raw", "diffusers", "v2"]

TRANSFORMER = {"raw": "lingbot_world_fast", "diffusers": "transformer", "v2": "transformers"}
PARTS = ("transformer", "vae", "text_encoder", "tokenizer")
VAE = "Wan2.1_VAE.pth"

GOLDEN: WanConfig = network().config
"""Width 128 in 4 heads of 32, which shapes alone do not tell."""

TINY = replace(GOLDEN, text_dim=tiny_text.TINY.dim, text_tokens=16)


def write_checkpoint(
    folder: Path,
    layout: Layout = "raw",
    *,
    config: WanConfig = TINY,
    tensors: Mapping[str, torch.Tensor] | None = None,
    parts: Collection[str] = PARTS,
    num_shards: int = 16,
    recorded: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model, as `worldkv models pull --to` would have brought it.

    Args:
        folder: What `--checkpoint` shall name.
        layout: How files are laid out.
        config: Sizes of the network.
        tensors: Its weights; random ones by default.
        parts: What is written.
        num_shards: Files that the network is spread over.
        recorded: What config.json says; by default what shapes cannot tell.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if "transformer" in parts:
        told = {"num_heads": config.num_heads, "text_len": config.text_tokens}
        target = folder / TRANSFORMER[layout]
        target.mkdir()
        (target / "config.json").write_text(json.dumps(told if recorded is None else recorded))
        stem = "diffusion_pytorch_model" if layout == "diffusers" else "model"
        write_shards(target, tensors or random_tensors(config), num_shards=num_shards, stem=stem)
    other: Literal["raw", "diffusers"] = "diffusers" if layout == "diffusers" else "raw"
    if "vae" in parts:
        if other == "raw":
            tiny_vae.write_vae(folder / VAE)
        else:
            tiny_vae.write_vae(folder / "vae", "diffusers")
    if "text_encoder" in parts:
        tiny_text.write_text_encoder(folder, layout=other)
    if "tokenizer" in parts:
        tiny_text.write_tokenizer(folder, layout=other)
    return folder


def random_tensors(config: WanConfig) -> dict[str, torch.Tensor]:
    """Weights of any network, scaled so that activations stay near one."""
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in WanNetwork(config).state_dict().items()}
    return {name: _random(name, shape) for name, shape in shapes.items()}


def _random(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(crc32(name.encode())))
    if name.endswith(("norm_q.weight", "norm_k.weight", "norm3.weight")):
        return 1 + 0.1 * values
    if name.endswith("bias") or "modulation" in name:
        return 0.1 * values
    fan_in = torch.Size(shape[1:]).numel()
    return 0.7 * values / fan_in**0.5
