"""Sizes of the embedded model, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from core.models.wan.config import WanConfig

CELL_PX = 8  # pixels of a latent cell's side: the codec turns 8x8x3 pixels into one latent vector
LATENT_CHANNELS = 32
CHUNK_FRAMES = 3
RAY_FEATURES = 39  # per latent cell, see conditioning.ray_features


def _network() -> WanConfig:
    return WanConfig(
        dim=192,
        ffn_dim=576,
        num_heads=6,
        num_layers=6,
        in_channels=2 * LATENT_CHANNELS + 1,  # noisy latents, image latents, mask
        out_channels=LATENT_CHANNELS,
        freq_dim=128,
        camera_features=4 * RAY_FEATURES,
        camera_injection="before_attention",
    )


@dataclass(frozen=True, kw_only=True)
class MiniConfig:
    """What the embedded model is made of.

    Attributes:
        width_px: Width of a picture; a multiple of 16 (a token covers 16x16 pixels).
        height_px: Height of a picture; a multiple of 16.
        fov_deg: Horizontal field of view that training mostly uses.
        network: The shared causal Wan network at tiny width.
    """

    width_px: int = 80
    height_px: int = 48
    fov_deg: float = 90.0
    network: WanConfig = field(default_factory=_network)

    @property
    def latent_size(self) -> tuple[int, int]:
        """Rows and columns of latent cells."""
        return self.height_px // CELL_PX, self.width_px // CELL_PX

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens."""
        rows, cols = self.latent_size
        return rows // 2, cols // 2

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> MiniConfig:
        """The configuration that `dataclasses.asdict` wrote."""
        return cls(**{**values, "network": WanConfig(**values["network"])})
