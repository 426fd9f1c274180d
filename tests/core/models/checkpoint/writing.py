"""Sharded checkpoints, written as the released ones are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

INDEX = "diffusion_pytorch_model.safetensors.index.json"


def write_shards(
    folder: Path, tensors: Mapping[str, torch.Tensor], *, num_shards: int, stem: str = "model"
) -> Path:
    """Write an index and shards that do not carry its name."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(tensors)
    weight_map: dict[str, str] = {}
    for shard in range(num_shards):
        held = names[shard * len(names) // num_shards : (shard + 1) * len(names) // num_shards]
        file = f"{stem}-{shard + 1:05}-of-{num_shards:05}.safetensors"
        save_file({name: tensors[name].contiguous() for name in held}, folder / file, {"format": "pt"})
        weight_map |= dict.fromkeys(held, file)
    num_bytes = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": num_bytes}, "weight_map": weight_map}
    (folder / INDEX).write_text(json.dumps(index))
    return folder
