"""A prompt as a world model gets it: cleaned, tokenized, encoded once, and kept for the next run."""

from __future__ import annotations

import gc
import logging
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from core.errors import InputError, ModelFilesError
from core.models.wan.text_cache import EncodedPrompt, cache_key, default_cache_dir, read_cache, write_cache
from core.models.wan.text_config import UMT5_XXL, TextBytes, TextConfig, text_bytes
from core.models.wan.text_encoder import load_encoder, run_encoder
from core.models.wan.text_files import (
    TextFiles,
    TextReport,
    check_text_files,
    check_vocabulary,
    open_text_weights,
)
from core.models.wan.text_tokens import clean_prompt, load_tokenizer, tokenize

__all__ = [
    "UMT5_XXL",
    "TextBytes",
    "TextConfig",
    "TextFiles",
    "TextReport",
    "check_text_files",
    "clean_prompt",
    "default_cache_dir",
    "encode_prompt",
    "text_bytes",
]

log = logging.getLogger(__name__)


def encode_prompt(
    prompt: str,
    files: TextFiles,
    *,
    device: torch.device | str,
    dtype: torch.dtype,
    max_tokens: int = 512,
    cache_dir: Path | None = None,
) -> Float[Tensor, "1 valid dim"]:
    """Encode a prompt; the encoder is loaded for it and freed again.

    Args:
        prompt: As the user wrote it.
        files: Of encoder and tokenizer.
        device: Where the encoder runs and the result lies; a GPU needs `text_bytes` for a moment.
        dtype: Of encoder and result.
        max_tokens: Tokens that the world model takes. A longer prompt is cut, with a warning in the log.
        cache_dir: Where encoded prompts are kept; None for nowhere. With a hit no encoder is loaded.

    Returns:
        The encoder's output for the prompt's tokens and the end token, without padding.

    Raises:
        InputError: `max_tokens` leaves no room for the end token.
        ModelFilesError: Files or optional packages are missing or wrong.
    """
    if max_tokens < 1:
        hint = "the models here were trained with 512"
        raise InputError(f"max_tokens must be at least 1, got {max_tokens}", where="max_tokens", hint=hint)
    text = clean_prompt(prompt)
    encoded, key = None, ""
    if cache_dir is not None:
        key = cache_key(text, files, max_tokens=max_tokens, dtype=dtype)
        encoded = read_cache(cache_dir, key)
    if encoded is None:
        encoded = _encode(text, files, device=torch.device(device), dtype=dtype, max_tokens=max_tokens)
        if cache_dir is not None:
            write_cache(cache_dir, key, encoded)
    kept = encoded.context.shape[1]
    if kept < encoded.num_total:
        log.warning("the prompt has %d tokens: only the first %d are used", encoded.num_total, kept)
    return encoded.context.to(device)


def _encode(
    text: str, files: TextFiles, *, device: torch.device, dtype: torch.dtype, max_tokens: int
) -> EncodedPrompt:
    tokenizer = load_tokenizer(files.tokenizer)
    check_vocabulary(tokenizer, open_text_weights(files.weights).config, where=files.tokenizer)
    tokens = tokenize(text, tokenizer, max_tokens=max_tokens)
    del tokenizer  # its vocabulary takes memory that the encoder may need
    encoder = load_encoder(files.weights, device=device, dtype=dtype)
    try:
        context = run_encoder(encoder, tokens.ids, max_tokens=max_tokens, device=device)
    finally:
        del encoder
        gc.collect()  # should a version of transformers hold itself in a cycle
        if device.type == "cuda":
            torch.cuda.empty_cache()
    _check_finite(context, files)
    return EncodedPrompt(context, tokens.num_total)


def _check_finite(context: Float[Tensor, "1 valid dim"], files: TextFiles) -> None:
    if context.isfinite().all():
        return
    hint = "the file may be damaged: worldkv models pull"
    if context.dtype is torch.float16:
        hint = "float16 is too narrow for this encoder: take bfloat16 or float32"
    dtype = str(context.dtype).removeprefix("torch.")
    raise ModelFilesError(
        f"the text encoder gives numbers that are not finite in {dtype}", where=str(files.weights), hint=hint
    )
