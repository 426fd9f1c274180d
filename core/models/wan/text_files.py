"""Files of a text encoder: checked and told apart without reading their tensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.errors import ModelFilesError
from core.models.checkpoint.shards import Weights, open_weights
from core.models.tensors import check_shapes
from core.models.wan.text_config import TextConfig
from core.models.wan.text_keys import TIED_KEY, WEIGHTS_HINT, infer_config, official_key, transformers_key
from core.models.wan.text_tokens import Tokenizer, load_tokenizer, tokenizer_file

CONFIG = "config.json"
_EDGE_BYTES = 1 << 20  # of a weights file, at either end: safetensors' header, or a zip's list of checksums

_CONFIG_KEYS = {
    "vocab_size": "vocab_tokens",
    "d_model": "dim",
    "num_heads": "num_heads",
    "d_kv": "head_dim",
    "d_ff": "ffn_dim",
    "num_layers": "num_layers",
    "relative_attention_num_buckets": "num_buckets",
}
_FIXED = {"model_type": "umt5", "feed_forward_proj": "gated-gelu"}


@dataclass(frozen=True)
class TextFiles:
    """Where a text encoder lies.

    Attributes:
        weights: The official `.pth`, or a diffusers `text_encoder` folder.
        tokenizer: The folder with `tokenizer.json` or `spiece.model`.
    """

    weights: Path
    tokenizer: Path


@dataclass(frozen=True, kw_only=True)
class TextReport:
    """What `check_text_files` found.

    Attributes:
        num_tensors: Tensors; the tied second name of the embedding does not count.
        num_parameters: Numbers in them.
        dtype: Of the numbers, `bfloat16` say; several joined by `+`.
        config: Sizes of the encoder.
        tokenizer: The file that the tokens come from.
        tokenizer_tokens: Tokens that it knows.
    """

    num_tensors: int
    num_parameters: int
    dtype: str
    config: TextConfig
    tokenizer: Path
    tokenizer_tokens: int


@dataclass(frozen=True)
class TextWeights:
    """An encoder on disk: complete and known, but not read.

    Attributes:
        config: Sizes of the encoder.
        stored: Its tensors, by the names of the file: official ones, or those of transformers.
    """

    config: TextConfig
    stored: Weights


def check_text_files(files: TextFiles) -> TextReport:
    """Check that a prompt could be encoded, without reading tensor data.

    Raises:
        ModelFilesError: Something is missing, damaged or of something else.
    """
    weights = open_text_weights(files.weights)
    tokenizer = load_tokenizer(files.tokenizer)
    check_vocabulary(tokenizer, weights.config, where=files.tokenizer)
    return TextReport(
        num_tensors=len(weights.stored.tensors),
        num_parameters=weights.stored.num_parameters,
        dtype="+".join(weights.stored.dtypes),
        config=weights.config,
        tokenizer=tokenizer_file(files.tokenizer),
        tokenizer_tokens=tokenizer.num_tokens,
    )


def check_vocabulary(tokenizer: Tokenizer, config: TextConfig, *, where: Path) -> None:
    """Check that the encoder knows every token.

    Raises:
        ModelFilesError: The tokenizer knows more than the encoder.
    """
    if tokenizer.num_tokens > config.vocab_tokens:
        raise ModelFilesError(
            f"the tokenizer knows {tokenizer.num_tokens} tokens, the text encoder only {config.vocab_tokens}",
            where=str(where),
            hint="tokenizer and encoder must be of one model: google/umt5-xxl",
        )


def open_text_weights(path: Path) -> TextWeights:
    """Names, shapes and settings of an encoder, checked; no tensor is read.

    Args:
        path: The official `.pth`, or a folder with `config.json` and one or several safetensors.

    Raises:
        ModelFilesError: The files are missing, damaged or of something else.
    """
    stored = _without_tied(open_weights(path))
    where = str(stored.source)
    names = {official_key(name): name for name in stored.tensors}
    config = infer_config({key: stored.shapes[name] for key, name in names.items()}, where=where)
    absent = transformers_key if "token_embedding.weight" not in stored.tensors else str
    expected = {names.get(key) or absent(key): shape for key, shape in config.shapes().items()}
    check_shapes(expected, stored.shapes, where=where, hint=WEIGHTS_HINT)
    return TextWeights(_with_settings(config, path / CONFIG) if path.is_dir() else config, stored)


def identity(files: TextFiles) -> list[str]:
    """What tells these files from others: cheap, from sizes, times and both ends of each weights file.

    A file that is moved, or copied with its time, keeps its identity.

    Raises:
        ModelFilesError: A file is missing or damaged.
    """
    weights = list(open_weights(files.weights).files)
    if files.weights.is_dir():
        weights.append(files.weights / CONFIG)
    tokenizer = tokenizer_file(files.tokenizer)
    try:
        parts = [_fingerprint(path) for path in weights]
        return [*parts, f"{tokenizer.name} {hashlib.sha256(tokenizer.read_bytes()).hexdigest()}"]
    except OSError as error:
        problem = f"a file of the text encoder cannot be read: {error.strerror}"
        raise ModelFilesError(problem, where=str(error.filename), hint=WEIGHTS_HINT) from None


def _fingerprint(path: Path) -> str:
    stat = path.stat()
    with path.open("rb") as file:
        edges = file.read(_EDGE_BYTES)
        file.seek(max(0, stat.st_size - _EDGE_BYTES))
        edges += file.read(_EDGE_BYTES)
    return f"{path.name} {stat.st_size} {stat.st_mtime_ns} {hashlib.sha256(edges).hexdigest()}"


def _without_tied(stored: Weights) -> Weights:
    """Without the second copy of the embedding that some files hold."""
    if "shared.weight" not in stored.tensors:
        return stored
    return replace(stored, tensors={name: t for name, t in stored.tensors.items() if name != TIED_KEY})


def _with_settings(config: TextConfig, path: Path) -> TextConfig:
    """What shapes do not tell, from config.json; what they do must agree with it."""
    said = _read_json(path)
    expected = _FIXED | {key: getattr(config, own) for key, own in _CONFIG_KEYS.items()}
    faults = [
        f"{key} is {said[key]!r}, but the weights need {value!r}"
        for key, value in expected.items()
        if said.get(key, value) != value
    ]
    if faults:
        raise ModelFilesError("; ".join(faults), where=str(path), hint=WEIGHTS_HINT)
    try:
        return replace(
            config,
            max_distance=int(said.get("relative_attention_max_distance", config.max_distance)),
            eps=float(said.get("layer_norm_epsilon", config.eps)),
        )
    except (TypeError, ValueError) as error:
        raise _unreadable(path, error) from None


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _unreadable(path, error.strerror) from None
    except ValueError as error:
        raise _unreadable(path, error) from None
    if not isinstance(content, dict):
        raise _unreadable(path, "it is no JSON object")
    return content


def _unreadable(path: Path, reason: object) -> ModelFilesError:
    problem = f"the text encoder's {path.name} cannot be read: {reason}"
    return ModelFilesError(problem, where=str(path), hint=WEIGHTS_HINT)
