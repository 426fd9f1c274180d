"""What distinguishes one Wan VAE from another: numbers, no code."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import ModelFilesError

# Of the training data, one a latent channel; the checkpoint does not hold them.
WAN_LATENT_MEAN = (
    *(-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508),
    *(0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921),
)
WAN_LATENT_STD = (
    *(2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743),
    *(3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.916),
)


@dataclass(frozen=True, kw_only=True)
class VaeConfig:
    """Shape of a causal Wan video autoencoder, and the statistics of its latents.

    Attributes:
        base_dim: Channels at full resolution.
        z_dim: Latent channels.
        dim_mult: Channels of every stage as multiples of `base_dim`, full resolution first.
        num_res_blocks: Residual blocks of an encoder stage; the decoder's have one more.
        temporal_downsample: Whether going to the next stage halves the frame rate too; one fewer than stages.
        latent_mean: Mean of every latent channel before normalisation.
        latent_std: Standard deviation of every latent channel before normalisation.
    """

    base_dim: int
    z_dim: int = 16
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    temporal_downsample: tuple[bool, ...] = (False, True, True)
    latent_mean: tuple[float, ...] = WAN_LATENT_MEAN
    latent_std: tuple[float, ...] = WAN_LATENT_STD

    def __post_init__(self) -> None:
        if min(self.base_dim, self.z_dim, self.num_res_blocks, *self.dim_mult, len(self.dim_mult) - 1) < 1:
            raise _impossible(f"sizes must be positive and stages at least two, got {self}")
        if len(self.temporal_downsample) != len(self.dim_mult) - 1:
            given, stages = len(self.temporal_downsample), len(self.dim_mult)
            raise _impossible(f"{stages} stages have {stages - 1} steps between them, not {given}")
        if not len(self.latent_mean) == len(self.latent_std) == self.z_dim:
            means, stds = len(self.latent_mean), len(self.latent_std)
            raise _impossible(f"{self.z_dim} latent channels, but {means} means and {stds} deviations")
        if min(self.latent_std) <= 0:
            raise _impossible(f"a standard deviation of latents must be positive, got {min(self.latent_std)}")

    @property
    def temporal_stride(self) -> int:
        """Video frames of a latent frame, the first excepted, which is one picture."""
        return int(2 ** sum(self.temporal_downsample))

    @property
    def spatial_stride(self) -> int:
        """Pixels of a latent cell, in both directions."""
        return int(2 ** (len(self.dim_mult) - 1))

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of every stage, full resolution first."""
        return tuple(self.base_dim * mult for mult in self.dim_mult)


WAN_VAE = VaeConfig(base_dim=96)
"""The released `Wan2.1_VAE.pth`: 126,892,531 parameters."""


def _impossible(problem: str) -> ModelFilesError:
    return ModelFilesError(problem, where="codec configuration")
