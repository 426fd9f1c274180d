"""Tensor names and shapes of UMT5 encoder files: official names against those of transformers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from core.errors import ModelFilesError
from core.models.wan.text_config import Shape, TextConfig

WEIGHTS_HINT = "get the file again: worldkv models pull"

TIED_KEY = "encoder.embed_tokens.weight"
"""transformers' second name of the token embedding."""

_TOP = {"token_embedding": "shared", "norm": "encoder.final_layer_norm"}
_BLOCK = {
    "norm1": "layer.0.layer_norm",
    **{f"attn.{part}": f"layer.0.SelfAttention.{part}" for part in "qkvo"},
    "pos_embedding.embedding": "layer.0.SelfAttention.relative_attention_bias",
    "norm2": "layer.1.layer_norm",
    "ffn.gate.0": "layer.1.DenseReluDense.wi_0",
    "ffn.fc1": "layer.1.DenseReluDense.wi_1",
    "ffn.fc2": "layer.1.DenseReluDense.wo",
}
_TOP_BACK = {theirs: ours for ours, theirs in _TOP.items()} | {
    TIED_KEY.removesuffix(".weight"): "token_embedding"
}
_BLOCK_BACK = {theirs: ours for ours, theirs in _BLOCK.items()}
_OFFICIAL = re.compile(r"blocks\.(\d+)\.(.+)\.weight")
_TRANSFORMERS = re.compile(r"encoder\.block\.(\d+)\.(.+)\.weight")


def transformers_key(key: str) -> str:
    """The name in `UMT5EncoderModel` of an official name; names of other tensors stay as they are."""
    block = _OFFICIAL.fullmatch(key)
    if block and block[2] in _BLOCK:
        return f"encoder.block.{block[1]}.{_BLOCK[block[2]]}.weight"
    return _renamed(key, _TOP)


def official_key(key: str) -> str:
    """The official name of a name in `UMT5EncoderModel`; names of other tensors stay as they are."""
    block = _TRANSFORMERS.fullmatch(key)
    if block and block[2] in _BLOCK_BACK:
        return f"blocks.{block[1]}.{_BLOCK_BACK[block[2]]}.weight"
    return _renamed(key, _TOP_BACK)


def infer_config(shapes: Mapping[str, Shape], *, where: str) -> TextConfig:
    """Sizes of the encoder whose tensors have these shapes.

    Args:
        shapes: Official names with their shapes.
        where: The file.

    Raises:
        ModelFilesError: These are not the tensors of a UMT5 encoder.
    """
    vocab_tokens, dim = _matrix(shapes, "token_embedding.weight", where)
    num_buckets, num_heads = _matrix(shapes, "blocks.0.pos_embedding.embedding.weight", where)
    inner, _ = _matrix(shapes, "blocks.0.attn.q.weight", where)
    ffn_dim, _ = _matrix(shapes, "blocks.0.ffn.fc1.weight", where)
    if inner % num_heads:
        raise ModelFilesError(
            f"attention of width {inner} does not split into {num_heads} heads",
            where=where,
            hint=WEIGHTS_HINT,
        )
    blocks = [int(match[1]) for match in map(_OFFICIAL.fullmatch, shapes) if match]
    return TextConfig(
        vocab_tokens=vocab_tokens,
        dim=dim,
        num_heads=num_heads,
        head_dim=inner // num_heads,
        ffn_dim=ffn_dim,
        num_layers=max(blocks) + 1,
        num_buckets=num_buckets,
    )


def _renamed(key: str, names: Mapping[str, str]) -> str:
    stem = key.removesuffix(".weight")
    return f"{names[stem]}.weight" if stem in names and stem != key else key


def _matrix(shapes: Mapping[str, Shape], key: str, where: str) -> tuple[int, int]:
    shape = tuple(shapes.get(key, ()))
    if len(shape) != 2 or min(shape) < 1:
        found = f"is {list(shape)}, not a matrix" if key in shapes else "is missing"
        problem = f"this is no UMT5 encoder: {key} (in transformers' names {transformers_key(key)}) {found}"
        raise ModelFilesError(problem, where=where, hint=WEIGHTS_HINT)
    return shape[0], shape[1]
