"""The CLIP image tower itself: loaded tensor by tensor, run once, freed by whoever loaded it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from core.errors import ModelFilesError
from core.models.checkpoint.load import read_tensors
from core.models.wan.clip_config import ClipConfig
from core.models.wan.clip_files import ClipFiles
from core.models.wan.clip_keys import NESTED_PREFIX

# Of CLIP's training data, one a colour; the checkpoint does not hold them.
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)


def load_encoder(files: ClipFiles, *, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Load a tower without its last block.

    Tensors go one by one from the file to the device: host memory holds at most one tower, and none when the
    device is a GPU.

    Raises:
        ModelFilesError: A file cannot be read, or transformers is not installed.
    """
    encoder = empty_encoder(files.config)
    empty = encoder.state_dict()
    names = {name.removeprefix(NESTED_PREFIX): name for name in empty}
    tensors: dict[str, Tensor] = {}
    for stored_name, stored in read_tensors(files.used):
        keys = files.network_keys(stored_name)
        for key, part in zip(keys, stored.chunk(len(keys)), strict=True):
            shaped = part.reshape(empty[names[key]].shape)
            tensors[names[key]] = shaped.to(device=device, dtype=dtype, copy=True)
    encoder.load_state_dict(tensors, assign=True)
    _number_positions(encoder, files.config.num_tokens, device)
    return encoder.requires_grad_(requires_grad=False).eval()


def empty_encoder(config: ClipConfig) -> nn.Module:
    """The CLIPVisionModel of transformers with the blocks that are run, on the meta device.

    Raises:
        ModelFilesError: transformers is not installed.
    """
    transformers = _import_transformers()
    settings = transformers.CLIPVisionConfig(
        hidden_size=config.dim,
        intermediate_size=config.mlp_dim,
        num_hidden_layers=config.used_layers,
        num_attention_heads=config.num_heads,
        image_size=config.image_px,
        patch_size=config.patch_px,
        layer_norm_eps=config.eps,
        hidden_act="gelu",
        attention_dropout=0.0,
    )
    with torch.device("meta"):
        encoder: nn.Module = transformers.CLIPVisionModel(settings)
    return encoder


def prepare_picture(
    picture: Float[Tensor, "1 3 height width"], *, side_px: int
) -> Float[Tensor, "1 3 side side"]:
    """A picture in -1..1 as the tower was trained to see it: squeezed into a square, in CLIP's units.

    Bicubic interpolation may leave -1..1 a little; it is not clipped.

    Args:
        picture: Any size; computed in its precision.
        side_px: Side of the square.
    """
    size = (side_px, side_px)
    square = F.interpolate(picture, size=size, mode="bicubic", align_corners=False, antialias=False)
    mean, std = (picture.new_tensor(values)[:, None, None] for values in (PIXEL_MEAN, PIXEL_STD))
    return (0.5 * square + 0.5 - mean) / std


@torch.no_grad()
def run_encoder(
    encoder: nn.Module, picture: Float[Tensor, "1 3 height width"], *, config: ClipConfig
) -> Float[Tensor, "1 tokens dim"]:
    """Tokens of a picture after the last block that was loaded, the class token first, without a final norm.

    Args:
        encoder: See `load_encoder`.
        picture: In -1..1; resized in float32.
        config: Sizes of the tower.
    """
    weight = next(encoder.parameters())
    prepared = prepare_picture(picture.to(weight.device, torch.float32), side_px=config.image_px)
    output = encoder(pixel_values=prepared.to(weight.dtype))
    return output.last_hidden_state  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped


def _number_positions(encoder: nn.Module, num_tokens: int, device: torch.device) -> None:
    """Give the row numbers of the position table, which no file holds, a place outside the meta device."""
    nested = any(name.startswith(NESTED_PREFIX) for name, _ in encoder.named_parameters())
    embeddings = encoder.get_submodule(f"{NESTED_PREFIX if nested else ''}embeddings")
    embeddings.register_buffer(
        "position_ids", torch.arange(num_tokens, device=device)[None], persistent=False
    )


def _import_transformers() -> ModuleType:
    try:
        with _quiet():
            import transformers

            transformers.CLIPVisionModel  # noqa: B018 - the package imports a model at its first mention
    except ImportError as error:
        problem = f"the image tower needs transformers: {error}"
        raise ModelFilesError(problem, where="transformers", hint='pip install "worldkv[wan]"') from None
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
