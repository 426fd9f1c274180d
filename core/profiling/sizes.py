"""The large models' sizes without their files: as released, or a share of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from core.errors import InputError
from core.models.matrix_game.config import ACTION_HEAD_DIM, NUM_LAYERS, find_variant
from core.models.wan.clip_config import CLIP_VIT_H
from core.models.wan.config import ActionConfig, WanConfig
from core.models.wan.size import MIN_SIDE_PX, STEP_PX
from core.models.wan.vae_config import WAN_VAE, VaeConfig

HEAD_DIM: Final = 128
LEAST_LAYERS: Final = 4
LINGBOT: Final = WanConfig(
    dim=5120,
    ffn_dim=13824,
    num_heads=40,
    num_layers=40,
    in_channels=36,
    out_channels=16,
    freq_dim=256,
    text_dim=4096,
    text_tokens=512,
    camera_features=1536,
    camera_injection="after_attention",
)
MATRIX_GAME: Final = WanConfig(
    dim=1536,
    ffn_dim=8960,
    num_heads=12,
    num_layers=NUM_LAYERS,
    in_channels=36,
    out_channels=16,
    image_dim=CLIP_VIT_H.dim,
    actions=ActionConfig(
        layers=tuple(range(NUM_LAYERS // 2)),
        num_heads=16,
        head_dim=ACTION_HEAD_DIM,
        keyboard_dim=find_variant("universal").keyboard_dim,
        keyboard_embedding=128,
        mouse=find_variant("universal").mouse,
    ),
)
RELEASED_SIZES: Final[Mapping[str, tuple[int, int]]] = MappingProxyType(
    {"lingbot": (832, 480), "lingbot-v2": (832, 480), "matrix-game": (640, 352)}
)
"""Width and height of the video."""


@dataclass(frozen=True)
class Sizes:
    """A model's sizes.

    Attributes:
        network: Of the transformer.
        vae: Of the codec.
        frame_size: Width and height of the video in pixels.
    """

    network: WanConfig
    vae: VaeConfig
    frame_size: tuple[int, int]


def model_sizes(model: str, scale: float = 1.0) -> Sizes:
    """A large model's sizes, or a share of them; heads stay 128 wide.

    Args:
        model: The word for it on the command line.
        scale: Share of width, layers, codec channels, text and picture area. Range: (0, 1].

    Raises:
        InputError: The model has no released sizes, or the share is out of range.
    """
    if model not in RELEASED_SIZES:
        raise InputError(
            f"{model} has its weights in the package: nothing is random or scaled",
            where="--random-weights",
            hint=f"leave it out, or use --model {' or '.join(RELEASED_SIZES)}",
        )
    if not 0 < scale <= 1:
        raise InputError(
            f"scale must lie in (0, 1], got {scale:g}", where="--scale", hint="0.1 runs anywhere"
        )
    network = scaled_network(MATRIX_GAME if model == "matrix-game" else LINGBOT, scale)
    return Sizes(network, scaled_vae(scale), _frame_size(RELEASED_SIZES[model], scale))


def scaled_network(network: WanConfig, scale: float) -> WanConfig:
    """A network that is narrower and shallower."""
    if scale == 1:
        return network
    heads, layers = max(1, round(network.num_heads * scale)), round(network.num_layers * scale)
    layers = max(LEAST_LAYERS, layers)
    actions = network.actions
    if actions is not None:
        some = tuple(range(layers * len(actions.layers) // network.num_layers))
        actions = replace(actions, layers=some, num_heads=max(1, round(actions.num_heads * scale)))
    text = network.text_dim > 0
    return replace(
        network,
        dim=heads * HEAD_DIM,
        ffn_dim=_eights(network.ffn_dim * scale),
        num_heads=heads,
        num_layers=layers,
        text_dim=_eights(network.text_dim * scale) if text else 0,
        text_tokens=max(8, round(network.text_tokens * scale)) if text else network.text_tokens,
        actions=actions,
    )


def scaled_vae(scale: float) -> VaeConfig:
    """A codec with fewer channels; strides and latents stay."""
    return replace(WAN_VAE, base_dim=max(4, round(WAN_VAE.base_dim * scale / 4) * 4))


def _frame_size(released: tuple[int, int], scale: float) -> tuple[int, int]:
    """Whole tokens nearest to a share of the area; its own size at full scale."""
    side = math.sqrt(scale)
    width, height = (max(MIN_SIDE_PX, round(length * side / STEP_PX) * STEP_PX) for length in released)
    return width, height


def _eights(count: float) -> int:
    return max(1, round(count / 8)) * 8
