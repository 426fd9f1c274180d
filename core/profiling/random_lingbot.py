"""A LingBot rollout without files: the real session with made-up weights, picture and prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from core.config import GenerateConfig
from core.hardware import release_device
from core.models.lingbot import session as real
from core.models.lingbot.controls import LingBotControls
from core.models.lingbot.path import CameraPath
from core.models.session import LoadedModel, OnLoad
from core.models.wan.codec import StreamingDecoder
from core.models.wan.codec_condition import PictureCondition
from core.models.wan.first_picture import FirstPicture
from core.models.wan.text_config import UMT5_XXL, TextConfig
from core.models.wan.weights import held_bytes
from core.models.weight_cache import WeightCache
from core.placement import Turns
from core.profiling.random_weights import random_network, random_vae
from core.profiling.sizes import Sizes
from core.sampler import NoiseLevels
from core.script import Script


@dataclass(frozen=True)
class Sized:
    """A part of a checkpoint of which nothing but the sizes exists."""

    config: Any


@dataclass(frozen=True)
class SizedParts:
    """What the real session asks of a checkpoint before it loads: sizes. See `lingbot.parts.LingBotParts`."""

    transformer: Sized
    vae: Sized
    text_config: TextConfig = UMT5_XXL


class RandomLingBotSession(real.LingBotSession):
    """See `core.models.session.Session`; window, footprint and placement are the real session's.

    Args:
        config: Settings of the rollout.
        script: What it shows.
        sizes: Of network, codec and picture.
    """

    def __init__(self, config: GenerateConfig, script: Script, sizes: Sizes) -> None:
        self._config, self._given_frames, self._sizes = config, 0, sizes
        self.defaults, self.trained_frames = real._window(config.model, script.chunk_frames)
        self.ways_out = ("a smaller --size", "a smaller --scale")
        self.trajectory, self.frame_size = script.trajectory, sizes.frame_size
        self._path = CameraPath.exact(script.trajectory, sizes.frame_size, script.chunk_frames, None)
        self.viewpoints = self._path.viewpoints
        self.inputs: Mapping[str, Path] = {}
        self.notes: tuple[str, ...] = ()
        self.logged: Mapping[str, object] = {"weights": "random"}
        self._parts = cast("Any", SizedParts(Sized(sizes.network), Sized(sizes.vae)))

    def check_files(self) -> None:
        """There are none."""

    @torch.inference_mode()
    def load(
        self,
        device: torch.device,
        dtype: torch.dtype,
        turns: Turns,
        on_load: OnLoad | None = None,
        weights: WeightCache | None = None,  # noqa: ARG002 - random ones are made anew
    ) -> LoadedModel:
        """Make codec and network; the prompt's encoder is left out, its tokens are noise."""
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
            levels=NoiseLevels.from_table(real.SHIFT),
            latent_shape=(vae.latent_channels, 2 * self._path.grid[0], 2 * self._path.grid[1]),
            given=None,
            parameter_bytes=held_bytes(network).device + vae.parameter_bytes,
        )


def noise_picture(size: tuple[int, int], device: torch.device) -> Tensor:
    """A picture of noise in -1..1, as the codec takes it."""
    width, height = size
    picture = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    return picture.to(device) * 2 - 1
