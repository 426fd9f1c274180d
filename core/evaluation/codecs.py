"""A frame in the model's own latent space, encoded as a first picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from core.config import GenerateConfig
from core.errors import ModelFilesError
from core.evaluation.footage import Frame

Encode = Callable[[Frame], Float[Tensor, "..."]]
"""Latent of a frame; channels have about unit mean square over the model's training data."""


def open_codec(config: GenerateConfig, *, wanted: bool) -> Encode:
    """The codec of a run's model.

    Args:
        config: The run's settings, which say where its checkpoint is.
        wanted: Whether codecs that have to be loaded from a checkpoint are asked for, too.

    Raises:
        ModelFilesError: It is not asked for, or its files are not at hand.
    """
    if config.model == "mini":
        return _mini_codec()
    if not wanted:
        raise ModelFilesError(
            f"latents need {config.model}'s codec", where=config.model, hint="--latents loads it"
        )
    return _wan_codec(config)


def latent_distance(a: Float[Tensor, "..."], b: Float[Tensor, "..."]) -> float:
    """Root mean square difference of two latents."""
    return float((a - b).square().mean().sqrt())


def _mini_codec() -> Encode:
    from core.models.mini.model import MiniModel

    model = MiniModel.load()

    @torch.inference_mode()
    def encode(frame: Frame) -> Tensor:
        return model.encode(torch.from_numpy(frame.copy()).permute(2, 0, 1)[None].float() / 255)[0]

    return encode


def _wan_codec(config: GenerateConfig) -> Encode:
    from core.models.wan.codec import StreamingEncoder
    from core.models.wan.vae import load_vae

    path = _vae_path(config)
    if path is None:
        hint = f"worldkv models pull {config.model} --part vae"
        raise ModelFilesError(f"the codec of {config.model} was not found", where="--latents", hint=hint)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    vae = load_vae(path, device=device)

    def encode(frame: Frame) -> Tensor:
        stride = vae.spatial_stride
        height, width = (side // stride * stride for side in frame.shape[:2])
        picture = torch.from_numpy(np.ascontiguousarray(frame[:height, :width])).permute(2, 0, 1)
        latent: Tensor = StreamingEncoder(vae).push(picture[None, :, None].float() / 127.5 - 1).cpu()
        return latent

    return encode


def _vae_path(config: GenerateConfig) -> Path | None:
    if config.model == "matrix-game":
        from core.models.matrix_game.files import find_companions as find_matrix_game

        return find_matrix_game(config.checkpoint).vae
    from core.models.lingbot.files import find_companions

    return find_companions(config.model, config.checkpoint).vae
