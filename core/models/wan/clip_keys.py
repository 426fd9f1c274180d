"""Tensor names and shapes of a CLIP image tower: the official file against transformers' CLIPVisionModel."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isqrt

from core.errors import ModelFilesError
from core.models.wan.clip_config import HEAD_DIM, ClipConfig, Shape

CLIP_HINT = (
    "needed: models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth, "
    "or the image_encoder folder of a Wan 2.1 model in diffusers' layout"
)

OFFICIAL_PREFIX = "visual."
NESTED_PREFIX = "vision_model."
"""In front of transformers' names in files and networks before its version 5."""

PATCHES = "visual.patch_embedding.weight"
POSITIONS = "visual.pos_embedding"

_TOP = {
    "visual.cls_embedding": "embeddings.class_embedding",
    POSITIONS: "embeddings.position_embedding.weight",
    PATCHES: "embeddings.patch_embedding.weight",
    **{f"visual.pre_norm.{part}": f"pre_layrnorm.{part}" for part in ("weight", "bias")},
    **{f"visual.post_norm.{part}": f"post_layernorm.{part}" for part in ("weight", "bias")},
}
_BLOCK = {
    "norm1": ("layer_norm1",),
    "attn.to_qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attn.proj": ("self_attn.out_proj",),
    "norm2": ("layer_norm2",),
    "mlp.0": ("mlp.fc1",),
    "mlp.2": ("mlp.fc2",),
}
_LEADING_AXES = {"visual.cls_embedding": 2, POSITIONS: 1}  # of size one, which transformers' do not have
_OFFICIAL = re.compile(r"visual\.transformer\.(\d+)\.(.+)\.(weight|bias)")


def transformers_keys(key: str) -> tuple[str, ...]:
    """The names in `CLIPVisionModel`, without `vision_model.`, of an official name.

    Three where queries, keys and values lie in one tensor, in this order along its first axis; names of other
    tensors stay as they are.
    """
    block = _OFFICIAL.fullmatch(key)
    if block and block[2] in _BLOCK:
        return tuple(f"encoder.layers.{block[1]}.{name}.{block[3]}" for name in _BLOCK[block[2]])
    return (_TOP.get(key, key),)


def transformers_shapes(official: Mapping[str, Shape]) -> dict[str, Shape]:
    """The same tensors by transformers' names and in its shapes."""
    shapes: dict[str, Shape] = {}
    for key, shape in official.items():
        names = transformers_keys(key)
        rows, *others = shape[_LEADING_AXES.get(key, 0) :]
        shapes |= dict.fromkeys(names, (rows // len(names), *others))
    return shapes


def block_prefix(layer: int, *, official: bool) -> str:
    """What the names of a block's tensors begin with, without `vision_model.`."""
    return f"visual.transformer.{layer}." if official else f"encoder.layers.{layer}."


def infer_config(shapes: Mapping[str, Shape], *, where: str, num_heads: int | None = None) -> ClipConfig:
    """Sizes of the tower whose tensors have these shapes.

    Args:
        shapes: Official names with their shapes.
        where: The file.
        num_heads: Attention heads, which shapes do not tell; None for heads of 80, as in the released tower.

    Raises:
        ModelFilesError: These are not the tensors of a CLIP image tower.
    """
    dim, _, patch_px, _ = _axes(shapes, PATCHES, 4, where)
    _, num_tokens, _ = _axes(shapes, POSITIONS, 3, where)
    mlp_dim, _ = _axes(shapes, "visual.transformer.0.mlp.0.weight", 2, where)
    side = isqrt(max(num_tokens - 1, 0))
    if num_tokens != 1 + side * side:
        raise not_clip(f"{POSITIONS} has {num_tokens} rows, which is not one more than a square", where)
    if num_heads is None:
        if dim % HEAD_DIM:
            reason = f"its width {dim} does not split into heads of {HEAD_DIM}, and no other number is known"
            raise not_clip(reason, where)
        num_heads = dim // HEAD_DIM
    blocks = [int(match[1]) for match in map(_OFFICIAL.fullmatch, shapes) if match]
    sizes = {
        "dim": dim,
        "num_heads": num_heads,
        "mlp_dim": mlp_dim,
        "num_layers": max(blocks) + 1,
        "image_px": side * patch_px,
        "patch_px": patch_px,
    }
    return config_of(sizes, where=where)


def config_of(sizes: Mapping[str, int], *, where: str, eps: float = 1e-5) -> ClipConfig:
    """A configuration that a file tells.

    Raises:
        ModelFilesError: The sizes make no tower.
    """
    try:
        return ClipConfig(**sizes, eps=eps)
    except ModelFilesError as error:
        raise not_clip(error.problem, where) from None


def not_clip(reason: str, where: str) -> ModelFilesError:
    """The error of files that hold something else."""
    return ModelFilesError(f"this is no CLIP image tower: {reason}", where=where, hint=CLIP_HINT)


def _axes(shapes: Mapping[str, Shape], key: str, num_axes: int, where: str) -> Shape:
    shape = tuple(shapes.get(key, ()))
    if len(shape) != num_axes:
        found = f"has shape {list(shape)}, not {num_axes} axes" if key in shapes else "is missing"
        raise not_clip(f"{key} {found}", where)
    return shape
