"""Weight-only int8 and fp8 through torchao: one scale for each output channel, activations as they are.

Its weights are tensors that wrap plain ones. What is needed of them beyond torchao's own use is taken through
torch's protocol for such tensors (`__tensor_flatten__`), not through torchao's classes, which change between
versions.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from core.errors import ModelFilesError
from core.models.wan.block_bytes import Quantisation


def quantise(weight: Float[Tensor, "out features"], quantisation: Quantisation) -> Tensor:
    """A linear layer's weight, quantised where it lies; only shapes if it is on the meta device.

    Args:
        weight: Of a linear layer.
        quantisation: int8 or fp8 (e4m3).

    Raises:
        ModelFilesError: torchao is missing or made for another torch.
    """
    quantize_, scheme = _torchao(quantisation)
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    quantize_(nn.Sequential(layer), scheme)
    return layer.weight.detach()


def plain_parts(tensor: Tensor) -> list[Tensor]:
    """The plain tensors of which a quantised one is made; a plain one is its own only part."""
    if not hasattr(tensor, "__tensor_flatten__"):
        return [tensor]
    names, _ = tensor.__tensor_flatten__()
    return [part for name in names for part in plain_parts(getattr(tensor, name))]


def made_of(like: Tensor, parts: Iterator[Tensor]) -> Tensor:
    """A tensor like another one, quantised the same way, but made of these plain tensors."""
    if not hasattr(like, "__tensor_flatten__"):
        return next(parts)
    names, context = like.__tensor_flatten__()
    inner = {name: made_of(getattr(like, name), parts) for name in names}
    kind: Any = type(like)
    whole: Tensor = kind.__tensor_unflatten__(inner, context, like.size(), like.stride())
    return whole


def check_quantised(quantisation: Quantisation) -> None:
    """Look whether weights can be quantised here.

    Raises:
        ModelFilesError: torchao is missing or made for another torch.
    """
    _torchao(quantisation)


def _torchao(quantisation: Quantisation) -> tuple[Callable[[nn.Module, Any], None], object]:
    """The library's entry point and its name for the scheme."""
    try:
        with _quiet_import():
            from torchao.quantization import (  # type: ignore[import-untyped]
                Float8WeightOnlyConfig,
                Int8WeightOnlyConfig,
                quantize_,
            )
    except ModuleNotFoundError as error:
        problem, hint = f"{quantisation} weights need torchao: {error}", 'pip install "worldkv[int8]"'
        raise ModelFilesError(problem, where="--weights", hint=hint) from None
    except (ImportError, AttributeError) as error:
        raise ModelFilesError(
            f"the installed torchao does not work with torch {torch.__version__}: {error}",
            where="--weights",
            hint="take torchao 0.12 for torch 2.7, 0.17 or newer from torch 2.11 on",
        ) from None
    scheme = {"int8": Int8WeightOnlyConfig, "fp8": Float8WeightOnlyConfig}[quantisation]
    return quantize_, scheme(set_inductor_config=False)


@contextmanager
def _quiet_import() -> Iterator[None]:
    """Hold back what torchao says about compiled kernels, none of which weight-only products use."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
