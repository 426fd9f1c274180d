"""Sizes of Matrix-Game's parts, and those of the released checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from core.models.matrix_game.config import ACTION_HEAD_DIM, ACTION_WINDOW_FRAMES, NUM_LAYERS, Variant
from core.models.wan.clip_config import CLIP_VIT_H, ClipConfig
from core.models.wan.config import ActionConfig, WanConfig
from core.models.wan.vae_config import WAN_VAE, VaeConfig

ACTION_HEADS: Final = 16
KEYBOARD_EMBEDDING: Final = 128


@dataclass(frozen=True, kw_only=True)
class MatrixGameSizes:
    """Sizes of a checkpoint's parts.

    Attributes:
        network: Of the transformer.
        vae: Of the codec.
        clip: Of the image encoder.
    """

    network: WanConfig
    vae: VaeConfig
    clip: ClipConfig


def released_sizes(variant: Variant) -> MatrixGameSizes:
    """Sizes of a variant as it was released."""
    network = WanConfig(
        dim=1536,
        ffn_dim=8960,
        num_heads=12,
        num_layers=NUM_LAYERS,
        in_channels=36,
        out_channels=16,
        image_dim=CLIP_VIT_H.dim,
        actions=ActionConfig(
            layers=variant.action_layers,
            num_heads=ACTION_HEADS,
            head_dim=ACTION_HEAD_DIM,
            keyboard_dim=variant.keyboard_dim,
            keyboard_embedding=KEYBOARD_EMBEDDING,
            mouse=variant.mouse,
            window_frames=ACTION_WINDOW_FRAMES,
        ),
    )
    return MatrixGameSizes(network=network, vae=WAN_VAE, clip=CLIP_VIT_H)
