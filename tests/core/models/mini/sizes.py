"""A small embedded model for tests."""

from core.models.mini.config import LATENT_CHANNELS, RAY_FEATURES, MiniConfig
from core.models.wan.config import WanConfig

TINY = MiniConfig(
    width_px=64,
    height_px=48,
    network=WanConfig(
        dim=48,
        ffn_dim=64,
        num_heads=3,
        num_layers=2,
        in_channels=2 * LATENT_CHANNELS + 1,
        out_channels=LATENT_CHANNELS,
        freq_dim=32,
        camera_features=4 * RAY_FEATURES,
        camera_injection="before_attention",
    ),
)
