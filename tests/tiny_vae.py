"""The golden data's tiny Wan VAE, written to disk in the layouts in which real ones are found."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from core.models.wan.vae import WanVae, load_vae
from core.models.wan.vae_config import VaeConfig
from tests.golden_lingbot import MANIFEST, frozen

CPU = torch.device("cpu")
KEY_MAP = MANIFEST["checkpoint"]["vae"]["key_map"]  # official name: [diffusers' name, full-size shape]
TINY = VaeConfig(base_dim=MANIFEST["config"]["tiny_vae"]["dim"])


@cache
def official_tensors() -> dict[str, torch.Tensor]:
    return {name: frozen(f"vae.{name}") for name in KEY_MAP}


def diffusers_tensors() -> dict[str, torch.Tensor]:
    return {KEY_MAP[name][0]: tensor for name, tensor in official_tensors().items()}


def diffusers_config(**changes: object) -> dict[str, object]:
    checkpoint = MANIFEST["checkpoint"]["vae"]
    return {
        "_class_name": "AutoencoderKLWan",
        "_diffusers_version": "0.35.0",
        "base_dim": TINY.base_dim,
        "z_dim": TINY.z_dim,
        "dim_mult": list(TINY.dim_mult),
        "num_res_blocks": TINY.num_res_blocks,
        "temperal_downsample": list(TINY.temporal_downsample),
        "attn_scales": [],
        "dropout": 0.0,
        "latents_mean": checkpoint["latent_mean"],
        "latents_std": checkpoint["latent_std"],
    } | changes


def write_vae(path: Path, layout: Literal["official", "diffusers", "sharded"] = "official") -> Path:
    """Write the tiny VAE: a `.pth`, or a folder with one safetensors file or two and their index."""
    if layout == "official":
        torch.save(official_tensors(), path)
        return path
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(diffusers_config()))
    tensors, stem = diffusers_tensors(), "diffusion_pytorch_model"
    if layout == "diffusers":
        save_file(tensors, path / f"{stem}.safetensors")
        return path
    names = sorted(tensors)
    shards = {f"{stem}-0000{i + 1}-of-00002.safetensors": names[i::2] for i in range(2)}
    for shard, held in shards.items():
        save_file({name: tensors[name] for name in held}, path / shard)
    weight_map = {name: shard for shard, held in shards.items() for name in held}
    index = json.dumps({"metadata": {}, "weight_map": weight_map})
    (path / f"{stem}.safetensors.index.json").write_text(index)
    return path


def fresh_vae(dtype: torch.dtype = torch.float32, device: torch.device = CPU) -> WanVae:
    """The tiny VAE through the official file; nobody else has it."""
    with TemporaryDirectory() as folder:
        return load_vae(write_vae(Path(folder) / "Wan2.1_VAE.pth"), device=device, dtype=dtype)


@cache
def tiny_vae(dtype: torch.dtype = torch.float32) -> WanVae:
    """The same, shared: change nothing in it."""
    return fresh_vae(dtype)


@contextmanager
def counted(part: nn.Module) -> Iterator[list[int]]:
    """Counts the calls of a network while the context lasts."""
    calls = [0]

    def count(*_: object) -> None:
        calls[0] += 1

    hook = part.register_forward_hook(count)
    try:
        yield calls
    finally:
        hook.remove()


@cache
def golden_video() -> torch.Tensor:
    """`unit.vae.video`: 13 pictures of 32x24, uniform in -1..1."""
    entry = MANIFEST["tensors"]["unit.vae.video"]
    seed = zlib.crc32(f"{MANIFEST['seed']}:unit.vae.video".encode()) & 0xFFFFFFFF
    u = np.random.RandomState(seed).random_sample(entry["shape"])
    video = (entry["low"] + (entry["high"] - entry["low"]) * u).astype(np.float32)
    assert zlib.crc32(video.tobytes()) == entry["crc32"]
    return torch.from_numpy(video)
