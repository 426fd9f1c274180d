"""Encoded prompts on disk: a prompt that was encoded once needs no text encoder again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from core.models.wan.text_files import TextFiles, identity

log = logging.getLogger(__name__)

FORMAT = "worldkv.text.1"  # changes with whatever would make older files wrong


@dataclass(frozen=True)
class EncodedPrompt:
    """What the text encoder made of a prompt.

    Attributes:
        context: The encoder's output, valid tokens only.
        num_total: Tokens of the whole prompt; more than `context` has where the prompt was cut.
    """

    context: Float[Tensor, "1 valid dim"]
    num_total: int


def default_cache_dir() -> Path:
    """`worldkv/text` in $XDG_CACHE_HOME, or in ~/.cache."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification: a relative path is invalid and to be ignored.
    return (base if base.is_absolute() else Path.home() / ".cache") / "worldkv" / "text"


def cache_key(prompt: str, files: TextFiles, *, max_tokens: int, dtype: torch.dtype) -> str:
    """SHA-256 of all that the encoded prompt depends on.

    Args:
        prompt: Cleaned.
        files: Of encoder and tokenizer; see `text_files.identity`.
        max_tokens: Length to which the prompt is cut.
        dtype: Precision of the encoder.

    Raises:
        ModelFilesError: A file is missing.
    """
    parts = [FORMAT, prompt, identity(files), max_tokens, str(dtype)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def read_cache(folder: Path, key: str) -> EncodedPrompt | None:
    """The encoded prompt of a key; None where there is none, or a file that is not ours or damaged."""
    path = _file(folder, key)
    try:
        if not path.is_file():
            return None
        with safe_open(path, framework="pt") as file:
            said = file.metadata() or {}
            context = file.get_tensor("context").clone()
            if said["format"] != FORMAT or said["key"] != key or context.ndim != 3 or len(context) != 1:
                raise ValueError("it belongs to something else")
            return EncodedPrompt(context, int(said["num_total"]))
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        log.warning("cached prompt %s is ignored: %s", path, error)
        return None


def write_cache(folder: Path, key: str, encoded: EncodedPrompt) -> None:
    """Keep an encoded prompt, whole or not at all; a folder that cannot be written is no reason to fail."""
    metadata = {"format": FORMAT, "key": key, "num_total": str(encoded.num_total)}
    content = save({"context": encoded.context.cpu().contiguous()}, metadata=metadata)
    temporary: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{key[:16]}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
        temporary.replace(_file(folder, key))
    except OSError as error:
        log.warning("the encoded prompt is not cached, %s: %s", folder, error.strerror or error)
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _file(folder: Path, key: str) -> Path:
    return folder / f"{key}.safetensors"
