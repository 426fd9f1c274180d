"""Small CLIP image towers on disk, in the layouts that the real one has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file

from core.models.wan.clip_config import HEAD_DIM, ClipConfig
from core.models.wan.clip_keys import transformers_keys, transformers_shapes
from tests.golden_matrix_game import MANIFEST, frozen

Layout = Literal["official", "diffusers", "nested"]

FILE = MANIFEST["checkpoint"]["clip"]["file"]

_GOLDEN = MANIFEST["config"]["tiny_clip"]
TINY = ClipConfig(
    dim=_GOLDEN["dim"],
    num_heads=_GOLDEN["num_heads"],
    mlp_dim=_GOLDEN["dim"] * _GOLDEN["mlp_ratio"],
    num_layers=_GOLDEN["num_layers"],
    image_px=_GOLDEN["image_size"],
    patch_px=_GOLDEN["patch_size"],
)
"""The tower of the golden data; its heads are not 80 wide, so that its official file needs `num_heads`."""


def tower_of_width(dim: int, *, num_layers: int = 2, side_patches: int = 2) -> ClipConfig:
    """A small tower with heads of 80, so that its official file needs no `num_heads`.

    Args:
        dim: Width of the tokens, a multiple of 80: 1280 for the golden Matrix-Game network.
        num_layers: Blocks, of which the last is not run.
        side_patches: Patches along a side of the picture, 4 pixels each: 2 give 5 tokens, 16 give 257.
    """
    return ClipConfig(
        dim=dim,
        num_heads=dim // HEAD_DIM,
        mlp_dim=32,
        num_layers=num_layers,
        image_px=4 * side_patches,
        patch_px=4,
    )


def frozen_tensors() -> dict[str, torch.Tensor]:
    """Weights of the golden tower, by official names."""
    return {key: frozen(f"clip.{key}") for key in (*TINY.shapes(), "visual.head")}


def random_tensors(config: ClipConfig, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights of any tower, by official names; gains are near one."""
    generator = torch.Generator().manual_seed(seed)
    return {
        key: _scale(shape) * torch.randn(shape, generator=generator) + (len(shape) == 1 and "weight" in key)
        for key, shape in config.shapes().items()
    }


def write_clip(
    path: Path,
    layout: Layout = "official",
    *,
    config: ClipConfig = TINY,
    tensors: dict[str, torch.Tensor] | None = None,
    dtype: torch.dtype = torch.float32,
    num_shards: int = 1,
) -> Path:
    """Write a tower where a whole model's folder holds it.

    Args:
        path: The file to write, or the folder for it.
        layout: `official`: the `.pth`, which holds more than the image tower, under its own name if `path` is
            a folder; `diffusers`: an `image_encoder` folder; `nested`: the same with older names.
        config: Sizes.
        tensors: The image tower's, by official names; random ones by default.
        dtype: On disk.
        num_shards: Files that a folder's tensors are spread over.

    Returns:
        What `encode_image` wants.
    """
    tensors = random_tensors(config) if tensors is None else tensors
    tensors = {key: tensor.to(dtype) for key, tensor in tensors.items()}
    if layout == "official":
        path = path if path.suffix == ".pth" else path / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(strangers(dtype) | tensors, path)
        return path
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(transformers_config(config), indent=2))
    prefix = "vision_model." if layout == "nested" else ""
    _write_shards(path, {prefix + key: t for key, t in transformers_tensors(tensors).items()}, num_shards)
    return path


def strangers(dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Tensors of the official file that the image tower does not need, in part."""
    return {
        "log_scale": torch.tensor(2.6, dtype=dtype),
        "visual.head": torch.zeros((8, 4), dtype=dtype),
        "textual.token_embedding.weight": torch.zeros((16, 8), dtype=dtype),
        "textual.blocks.0.attn.q.weight": torch.zeros((8, 8), dtype=dtype),
    }


def transformers_tensors(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same weights by the names of `CLIPVisionModel`; names that it lacks are left out."""
    named = {}
    for key, tensor in tensors.items():
        names = transformers_keys(key)
        if names == (key,):
            continue
        shapes = transformers_shapes({key: tuple(tensor.shape)})
        for name, part in zip(names, tensor.chunk(len(names)), strict=True):
            named[name] = part.reshape(shapes[name]).clone()
    return named


def transformers_config(config: ClipConfig, **changes: object) -> dict[str, object]:
    """A `config.json` with the fields that real ones have."""
    return {
        "architectures": ["CLIPVisionModel"],
        "attention_dropout": 0.0,
        "hidden_act": "gelu",
        "hidden_size": config.dim,
        "image_size": config.image_px,
        "initializer_factor": 1.0,
        "initializer_range": 0.02,
        "intermediate_size": config.mlp_dim,
        "layer_norm_eps": config.eps,
        "model_type": "clip_vision_model",
        "num_attention_heads": config.num_heads,
        "num_channels": 3,
        "num_hidden_layers": config.num_layers,
        "patch_size": config.patch_px,
        "projection_dim": 1024,
        "torch_dtype": "float32",
    } | changes


def _scale(shape: tuple[int, ...]) -> float:
    """Keeps activations near one; biases and gains vary a little."""
    return 0.1 if len(shape) == 1 else torch.Size(shape[1:]).numel() ** -0.5


def _write_shards(folder: Path, tensors: dict[str, torch.Tensor], num_shards: int) -> None:
    if num_shards == 1:
        save_file(tensors, folder / "model.safetensors")
        return
    weight_map = {}
    for shard in range(num_shards):
        name = f"model-{shard + 1:05}-of-{num_shards:05}.safetensors"
        part = dict(list(tensors.items())[shard::num_shards])
        save_file(part, folder / name)
        weight_map |= dict.fromkeys(part, name)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map})
    )
