"""Small text encoders and tokenizers on disk, in the layouts that the real ones have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file

from core.models.wan.text_config import TextConfig
from core.models.wan.text_files import TextFiles
from core.models.wan.text_keys import transformers_key
from tests.golden_lingbot import MANIFEST, frozen

Layout = Literal["raw", "diffusers"]

WEIGHTS = "models_t5_umt5-xxl-enc-bf16.pth"
TOKENIZER = Path("google") / "umt5-xxl"

_GOLDEN = MANIFEST["config"]["tiny_text_encoder"]
TINY = TextConfig(
    vocab_tokens=_GOLDEN["vocab"],
    dim=_GOLDEN["dim"],
    num_heads=_GOLDEN["num_heads"],
    head_dim=_GOLDEN["dim_attn"] // _GOLDEN["num_heads"],
    ffn_dim=_GOLDEN["dim_ffn"],
    num_layers=_GOLDEN["num_layers"],
)
"""The encoder of the golden data."""

WORDS = ("a", "the", "castle", "hill", "snow", "town", "camera", "turns", "left", "right", "quiet", "over")


def frozen_tensors() -> dict[str, torch.Tensor]:
    """Weights of the golden encoder, by official names."""
    return {key: frozen(f"t5.{key}") for key in TINY.shapes()}


def random_tensors(config: TextConfig, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights of any encoder, by official names; gains are near one."""
    generator = torch.Generator().manual_seed(seed)
    return {
        key: 0.3 * torch.randn(shape, generator=generator) + (len(shape) == 1)
        for key, shape in config.shapes().items()
    }


def write_text(folder: Path, *, layout: Layout = "raw", config: TextConfig = TINY) -> TextFiles:
    """A random encoder and a tokenizer, as a whole model's folder holds them."""
    return TextFiles(
        write_text_encoder(folder, layout=layout, config=config), write_tokenizer(folder, layout=layout)
    )


def write_text_encoder(
    folder: Path,
    *,
    layout: Layout = "raw",
    config: TextConfig = TINY,
    tensors: dict[str, torch.Tensor] | None = None,
    dtype: torch.dtype = torch.bfloat16,
    num_shards: int = 1,
) -> Path:
    """Write an encoder under a model's folder.

    Args:
        folder: Of the whole model.
        layout: `raw`: the official `.pth`; `diffusers`: a `text_encoder` folder.
        config: Sizes.
        tensors: By official names; random ones by default.
        dtype: On disk.
        num_shards: Files that a diffusers folder's tensors are spread over.

    Returns:
        What `TextFiles.weights` wants.
    """
    tensors = {key: t.to(dtype) for key, t in (tensors or random_tensors(config)).items()}
    folder.mkdir(parents=True, exist_ok=True)
    if layout == "raw":
        torch.save(tensors, folder / WEIGHTS)
        return folder / WEIGHTS
    target = folder / "text_encoder"
    target.mkdir()
    (target / "config.json").write_text(json.dumps(transformers_config(config), indent=2))
    _write_shards(target, {transformers_key(key): t.contiguous() for key, t in tensors.items()}, num_shards)
    return target


def transformers_config(config: TextConfig) -> dict[str, object]:
    """A `config.json` with the fields that real ones have."""
    return {
        "architectures": ["UMT5EncoderModel"],
        "d_ff": config.ffn_dim,
        "d_kv": config.head_dim,
        "d_model": config.dim,
        "dense_act_fn": "gelu_new",
        "feed_forward_proj": "gated-gelu",
        "is_gated_act": True,
        "layer_norm_epsilon": config.eps,
        "model_type": "umt5",
        "num_heads": config.num_heads,
        "num_layers": config.num_layers,
        "relative_attention_max_distance": config.max_distance,
        "relative_attention_num_buckets": config.num_buckets,
        "torch_dtype": "bfloat16",
        "vocab_size": config.vocab_tokens,
    }


def write_tokenizer(folder: Path, *, layout: Layout = "raw") -> Path:
    """Write a tokenizer of words, letters and digits under a model's folder; it has fewer than 100 tokens.

    Returns:
        What `TextFiles.tokenizer` wants.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    letters = [*map(chr, range(ord("a"), ord("z") + 1)), *"0123456789.,!?'\"&<>/;-ACTX"]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -3.0)]
    pieces += [(f"\u2581{word}", -2.0 - len(word) / 100) for word in WORDS]
    pieces += [(letter, -5.0) for letter in letters]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([AddedToken(word, special=True) for word in ("<pad>", "</s>", "<unk>")])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    target = folder / (TOKENIZER if layout == "raw" else "tokenizer")
    target.mkdir(parents=True)
    tokenizer.save(str(target / "tokenizer.json"))
    special = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    (target / "special_tokens_map.json").write_text(json.dumps(special))
    settings = special | {"tokenizer_class": "T5Tokenizer", "extra_ids": 0}
    (target / "tokenizer_config.json").write_text(json.dumps(settings))
    return target


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
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
