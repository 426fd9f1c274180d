"""A LingBot rollout without files: the real session with made-up weights, picture and prompt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from core.config import GenerateConfig
from core.hardware import release_device
from core.models.lingbot.controls import LingBotControls
from core.models.lingbot.outline import LingBotOutline
from core.models.lingbot.path import CameraPath
from core.models.lingbot.session import SHIFT
from core.models.lingbot.sizes import LingBotSizes
from core.models.outline import Outlined
from core.models.session import LoadedModel, OnLoad
from core.models.wan.codec import StreamingDecoder
from core.models.wan.codec_condition import PictureCondition
from core.models.wan.first_picture import FirstPicture
from core.models.wan.text_config import UMT5_XXL
from core.models.wan.weights import held_bytes
from core.models.weight_cache import WeightCache
from core.placement import Turns
from core.profiling.random_weights import random_network, random_vae
from core.profiling.sizes import Sizes
from core.sampler import NoiseLevels
from core.script import Script


class RandomLingBotSession(Outlined):
    """See `core.models.session.Session`; window, footprint and placement are the real session's.

    Args:
        config: Settings of the rollout.
        script: What it shows.
        sizes: Of network, codec and picture.
    """

    default_scale = 1
    given_frames = 0

    def __init__(self, config: GenerateConfig, script: Script, sizes: Sizes) -> None:
        self._config, self._sizes = config, sizes
        self._path = CameraPath.exact(script.trajectory, sizes.frame_size, script.chunk_frames, None)
        outline = LingBotOutline(
            config=config,
            trajectory=script.trajectory,
            path=self._path,
            given_frames=0,
            sizes=LingBotSizes(network=sizes.network, vae=sizes.vae, text=UMT5_XXL),
        )
        super().__init__(outline)
        self.inputs: Mapping[str, Path] = {}
        self.notes: tuple[str, ...] = ()
        self.logged: Mapping[str, object] = {"weights": "random"}

    @property
    def ways_out(self) -> tuple[str, ...]:
        """Flags that would take less memory."""
        return ("a smaller --size", "a smaller --scale")

    def check_files(self) -> None:
        """There are none."""

    @torch.inference_mode()
    def load(
        self,
        device: torch.device,
        dtype: torch.dtype,
        turns: Turns,
        on_load: OnLoad | None = None,
        weights: WeightCache | None = None,
    ) -> LoadedModel:
        """Make codec and network; the prompt's encoder is left out, its tokens are noise."""
        del weights  # made anew each time
        told, net = on_load or (lambda *_: None), self._sizes.network
        told("codec", 0, 0)
        vae = random_vae(self._sizes.vae, device)
        told("first picture", 0, 0)
        condition = PictureCondition(vae, noise_picture(self.frame_size, device))
        picture = FirstPicture(condition, self.viewpoints.num_frames)
        decode_dtype = getattr(torch, self._config.decode_dtype)
        if decode_dtype != torch.float32:
            vae = random_vae(self._sizes.vae, device, decode_dtype)
        release_device(device)
        told("transformer", 0, 0)
        network = random_network(net, turns.weights, device, dtype)
        context = torch.randn(1, net.text_tokens, net.text_dim, generator=torch.Generator().manual_seed(1))
        return LoadedModel(
            controls=LingBotControls(
                network, self._path, picture, context.to(device), camera_ready=turns.camera_ready
            ),
            decoder=StreamingDecoder(
                vae, tile=turns.decode_tile, tile_caches_on_host=turns.decode_tile is not None
            ),
            levels=NoiseLevels.from_table(SHIFT),
            latent_shape=(vae.latent_channels, 2 * self._path.grid[0], 2 * self._path.grid[1]),
            given=None,
            parameter_bytes=held_bytes(network).device + vae.parameter_bytes,
        )


def noise_picture(size: tuple[int, int], device: torch.device) -> Tensor:
    """A picture of noise in -1..1, as the codec takes it."""
    width, height = size
    picture = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    return picture.to(device) * 2 - 1
