"""The first picture as tokens that a world model's cross-attention reads: CLIP's image tower, run once."""

from __future__ import annotations

import gc
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from core.errors import ModelFilesError
from core.models.wan.clip_config import CLIP_VIT_H, ClipBytes, ClipConfig, clip_bytes
from core.models.wan.clip_encoder import load_encoder, run_encoder
from core.models.wan.clip_files import ClipFiles, check_clip_files

__all__ = [
    "CLIP_VIT_H",
    "ClipBytes",
    "ClipConfig",
    "ClipFiles",
    "check_clip_files",
    "clip_bytes",
    "encode_image",
]


def encode_image(
    picture: Float[Tensor, "1 3 height width"],
    path: Path,
    *,
    device: torch.device | str,
    dtype: torch.dtype,
    num_heads: int | None = None,
) -> Float[Tensor, "1 tokens dim"]:
    """Encode a picture; the tower is loaded for it and freed again.

    Args:
        picture: In -1..1, of any size: it is squeezed into the tower's square.
        path: The official `.pth`, or an `image_encoder` folder in diffusers' layout; nothing is ever fetched.
        device: Where the tower runs and the result lies; a GPU needs `clip_bytes` for a moment.
        dtype: Of tower and result.
        num_heads: Attention heads; see `check_clip_files`.

    Returns:
        The tokens after the last but one block, the class token first, without a final norm: 257 of width
        1280 from the released tower.

    Raises:
        ModelFilesError: Files or optional packages are missing or wrong.
    """
    device = torch.device(device)
    files = check_clip_files(path, num_heads=num_heads)
    encoder = load_encoder(files, device=device, dtype=dtype)
    try:
        tokens = run_encoder(encoder, picture, config=files.config)
    finally:
        del encoder
        gc.collect()  # should a version of transformers hold itself in a cycle
        if device.type == "cuda":
            torch.cuda.empty_cache()
    if not tokens.isfinite().all():
        raise _not_finite(dtype, path)
    return tokens


def _not_finite(dtype: torch.dtype, path: Path) -> ModelFilesError:
    hint = "the file may be damaged: worldkv models pull"
    if dtype is torch.float16:
        hint = "float16 is too narrow for this tower: take bfloat16 or float32"
    problem = f"the image tower gives numbers that are not finite in {str(dtype).removeprefix('torch.')}"
    return ModelFilesError(problem, where=str(path), hint=hint)
