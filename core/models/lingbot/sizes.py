"""Sizes of LingBot's parts, and those of the released checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from core.models.wan.config import WanConfig
from core.models.wan.text_config import UMT5_XXL, TextConfig
from core.models.wan.vae_config import WAN_VAE, VaeConfig


@dataclass(frozen=True, kw_only=True)
class LingBotSizes:
    """Sizes of a checkpoint's parts.

    Attributes:
        network: Of the transformer.
        vae: Of the codec.
        text: Of the text encoder.
    """

    network: WanConfig
    vae: VaeConfig
    text: TextConfig


RELEASED: Final = LingBotSizes(
    network=WanConfig(
        dim=5120,
        ffn_dim=13824,
        num_heads=40,
        num_layers=40,
        in_channels=36,
        out_channels=16,
        text_dim=4096,
        camera_features=1536,
        camera_injection="after_attention",
    ),
    vae=WAN_VAE,
    text=UMT5_XXL,
)
"""Of both versions: 18,544,332,864 parameters."""
