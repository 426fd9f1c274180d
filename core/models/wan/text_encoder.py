"""The UMT5 encoder itself: loaded tensor by tensor, run once, freed by whoever loaded it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch
from jaxtyping import Float
from torch import Tensor, nn

from core.models.checkpoint.load import read_tensors
from core.models.wan.text_config import TextConfig
from core.models.wan.text_files import open_text_weights
from core.models.wan.text_keys import TIED_KEY, official_key, transformers_key
from core.models.wan.text_tokens import missing_package


def load_encoder(path: Path, *, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Load an encoder from local files.

    Tensors go one by one from the file to the device: host memory holds at most one encoder, and none when
    the device is a GPU.

    Raises:
        ModelFilesError: The files are missing, damaged or of something else; transformers is not installed.
    """
    weights = open_text_weights(path)
    encoder = empty_encoder(weights.config)
    tensors = {
        transformers_key(official_key(name)): tensor.to(device=device, dtype=dtype, copy=True)
        for name, tensor in read_tensors(weights.stored)
    }
    tensors[TIED_KEY] = tensors["shared.weight"]
    encoder.load_state_dict(tensors, assign=True)
    encoder.set_input_embeddings(encoder.get_input_embeddings())  # type: ignore[operator]  # ties them again
    return encoder.requires_grad_(requires_grad=False).eval()


def empty_encoder(config: TextConfig) -> nn.Module:
    """The encoder of transformers, on the meta device.

    Raises:
        ModelFilesError: transformers is not installed.
    """
    transformers = _import_transformers()
    settings = transformers.UMT5Config(
        vocab_size=config.vocab_tokens,
        d_model=config.dim,
        d_kv=config.head_dim,
        d_ff=config.ffn_dim,
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        relative_attention_num_buckets=config.num_buckets,
        relative_attention_max_distance=config.max_distance,
        layer_norm_epsilon=config.eps,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        is_encoder_decoder=False,
        use_cache=False,
    )
    with torch.device("meta"):
        encoder: nn.Module = transformers.UMT5EncoderModel(settings)
    return encoder


@torch.no_grad()
def run_encoder(
    encoder: nn.Module, ids: Sequence[int], *, max_tokens: int, device: torch.device
) -> Float[Tensor, "1 valid dim"]:
    """Encode tokens, padded to `max_tokens` behind a mask, and cut the padding off again.

    The padding changes nothing but the shapes that kernels see: those that the models were trained with.
    """
    padded = torch.zeros((1, max_tokens), dtype=torch.long)
    mask = torch.zeros_like(padded)
    padded[0, : len(ids)] = torch.tensor(ids)
    mask[0, : len(ids)] = 1
    output = encoder(input_ids=padded.to(device), attention_mask=mask.to(device)).last_hidden_state
    return output[:, : len(ids)].clone()  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped


def _import_transformers() -> ModuleType:
    try:
        with _quiet():
            import transformers

            transformers.UMT5EncoderModel  # noqa: B018 - the package imports a model at its first mention
    except ImportError as error:
        raise missing_package("transformers", error) from None
    return transformers


@contextmanager
def _quiet() -> Iterator[None]:
    """No log lines of the libraries that transformers imports: they complain of what is not ours to mend."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(before)
