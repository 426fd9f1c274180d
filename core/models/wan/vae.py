"""The Wan video autoencoder, loaded from local files; diffusers' AutoencoderKLWan does the convolutions.

Causal in time: the first latent frame stands for one picture, every later one for four. Each step goes
through the network with what its convolutions remember of the steps before, so that a video of any length
takes constant memory.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from core.errors import ModelFilesError
from core.models.checkpoint.load import read_tensors
from core.models.wan.vae_cache import FeatureCache
from core.models.wan.vae_config import VaeConfig
from core.models.wan.vae_files import check_vae_files

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class WanVae:
    """A loaded autoencoder; it holds no state of any video.

    Attributes:
        config: Its sizes.
        network: diffusers' AutoencoderKLWan.
        mean: Mean of every latent channel: [z_dim, 1, 1, 1], float32.
        std: Standard deviation of every latent channel, likewise.
    """

    config: VaeConfig
    network: nn.Module
    mean: Float[Tensor, "channels 1 1 1"]
    std: Float[Tensor, "channels 1 1 1"]

    @classmethod
    def of(cls, config: VaeConfig, network: nn.Module) -> WanVae:
        """An autoencoder whose statistics lie beside its weights."""
        device = next(network.parameters()).device
        mean, std = (
            torch.tensor(values, dtype=torch.float32, device=device)[:, None, None, None]
            for values in (config.latent_mean, config.latent_std)
        )
        return cls(config, network, mean, std)

    @property
    def latent_channels(self) -> int:
        """Channels of a latent."""
        return self.config.z_dim

    @property
    def temporal_stride(self) -> int:
        """Video frames of every latent frame but the first, which is one."""
        return self.config.temporal_stride

    @property
    def spatial_stride(self) -> int:
        """Pixels of a latent cell in both directions."""
        return self.config.spatial_stride

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights and of what the convolutions remember."""
        return next(self.network.parameters()).dtype

    @property
    def parameter_bytes(self) -> int:
        """Bytes of the weights."""
        return sum(parameter.nbytes for parameter in self.network.parameters())

    def encode_step(
        self, pictures: Float[Tensor, "batch 3 frames height width"], cache: FeatureCache
    ) -> Float[Tensor, "batch channels 1 h w"]:
        """One latent frame, normalised, of the pictures in -1..1 that it stands for."""
        encoded = cache.run(self._part("encoder"), pictures.to(self.device, self.dtype))
        # Half of the channels is the posterior's mean, half its spread, which nobody needs.
        mode = self._part("quant_conv")(encoded)[:, : self.latent_channels]
        return (mode.float() - self.mean) / self.std  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped

    def decode_step(
        self, latents: Float[Tensor, "batch channels 1 h w"], cache: FeatureCache
    ) -> Float[Tensor, "batch 3 frames height width"]:
        """The pictures of one normalised latent frame; values may leave -1..1."""
        scaled = latents.to(self.device, torch.float32) * self.std + self.mean
        inputs = self._part("post_quant_conv")(scaled.to(self.dtype))
        pictures = cache.run(self._part("decoder"), inputs, first_chunk=cache.steps == 0)
        return pictures.float()

    def _part(self, name: str) -> nn.Module:
        return self.network.get_submodule(name)


def load_vae(path: Path, *, device: torch.device, dtype: torch.dtype = torch.float32) -> WanVae:
    """Load an autoencoder from local files; nothing is ever fetched.

    Args:
        path: The official `Wan2.1_VAE.pth`, or a `vae` folder in diffusers' layout.
        device: Where it shall compute.
        dtype: Of weights and computation; the models were trained with float32 here.

    Raises:
        ModelFilesError: Files are missing, damaged, mis-shaped or of another kind, or diffusers is not there.
    """
    files = check_vae_files(path)
    network = empty_network(files.config)
    tensors = {
        files.network_key(name): stored.to(device=device, dtype=dtype, copy=True)
        for name, stored in read_tensors(files.weights)
    }
    network.load_state_dict(tensors, assign=True)
    network.requires_grad_(requires_grad=False).eval()
    _LOG.info("loaded the codec: %s layout, %s parameters", files.layout, f"{files.num_parameters:,}")
    return WanVae.of(files.config, network)


def empty_network(config: VaeConfig) -> nn.Module:
    """The network on the meta device: names and shapes without data.

    Raises:
        ModelFilesError: diffusers is not installed.
    """
    network_class = _network_class()
    with torch.device("meta"):
        return network_class(
            base_dim=config.base_dim,
            z_dim=config.z_dim,
            dim_mult=list(config.dim_mult),
            num_res_blocks=config.num_res_blocks,
            temperal_downsample=list(config.temporal_downsample),
        )


def _network_class() -> type[nn.Module]:
    """Imported only here: it takes seconds."""
    try:
        with _quiet_imports():
            from diffusers import AutoencoderKLWan
    except (ImportError, RuntimeError) as error:  # the latter is how it reports that one of its own failed
        raise ModelFilesError(
            f"the Wan codec needs diffusers: {error}", where="diffusers", hint='pip install "worldkv[wan]"'
        ) from None
    return cast("type[nn.Module]", AutoencoderKLWan)


@contextmanager
def _quiet_imports() -> Iterator[None]:
    """Hold back what diffusers and its optional companions say about kernels that are not needed here."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(before)
