"""A Matrix-Game rollout without files: the real session with made-up weights and a picture of noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from core.config import GenerateConfig
from core.hardware import release_device
from core.models.matrix_game.config import find_variant
from core.models.matrix_game.controls import MatrixGameControls
from core.models.matrix_game.outline import draw
from core.models.matrix_game.session import SHIFT, TrackActions
from core.models.matrix_game.sizes import MatrixGameSizes
from core.models.outline import Outlined
from core.models.session import LoadedModel, OnLoad
from core.models.wan.clip_config import CLIP_VIT_H
from core.models.wan.codec import StreamingDecoder
from core.models.wan.codec_condition import PictureCondition
from core.models.wan.first_picture import FirstPicture
from core.models.wan.weights import held_bytes
from core.models.wan.weights_placement import WeightPlacement
from core.models.weight_cache import WeightCache
from core.placement import Turns
from core.profiling.random_lingbot import noise_picture
from core.profiling.random_weights import random_network, random_vae
from core.profiling.sizes import Sizes
from core.sampler import NoiseLevels
from core.script import Script

UNIVERSAL = find_variant("universal")


class RandomMatrixGameSession(Outlined):
    """See `core.models.session.Session`; the universal variant, footprint and placement the real session's.

    Args:
        config: Settings of the rollout.
        script: What it shows.
        sizes: Of network, codec and picture.
    """

    default_scale = 1
    given_frames = 0

    def __init__(self, config: GenerateConfig, script: Script, sizes: Sizes) -> None:
        width, height = sizes.frame_size
        drawn = draw(config.model_copy(update={"size": f"{width}x{height}"}), script)
        released = MatrixGameSizes(network=sizes.network, vae=sizes.vae, clip=CLIP_VIT_H)
        super().__init__(replace(drawn, sizes=released))
        self._sizes, self._tracks, self._grid = sizes, drawn.tracks, drawn.viewpoints.grid
        self._decode_dtype: torch.dtype = getattr(torch, config.decode_dtype)
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
        """Make codec and network; the picture's encoder is left out, its tokens are noise."""
        del weights  # made anew each time
        told = on_load or (lambda *_: None)
        told("codec", 0, 0)
        vae = random_vae(self._sizes.vae, device)
        told("first picture", 0, 0)
        condition = PictureCondition(vae, noise_picture(self.frame_size, device))
        picture = FirstPicture(condition, self.viewpoints.num_frames)
        if self._decode_dtype != torch.float32:
            vae = random_vae(self._sizes.vae, device, self._decode_dtype)
        release_device(device)
        told("transformer", 0, 0)
        network = random_network(self._sizes.network, WeightPlacement(), device, dtype)
        draw = torch.Generator().manual_seed(1)
        visual = torch.randn(1, CLIP_VIT_H.num_tokens, CLIP_VIT_H.dim, generator=draw)
        controls = MatrixGameControls(
            network,
            self.viewpoints,
            picture,
            TrackActions(self._tracks),
            visual.to(device),
            action_frames=UNIVERSAL.window_frames,
        )
        return LoadedModel(
            controls=controls,
            decoder=StreamingDecoder(
                vae, tile=turns.decode_tile, tile_caches_on_host=turns.decode_tile is not None
            ),
            levels=NoiseLevels.from_steps(UNIVERSAL.denoising_steps, SHIFT),
            latent_shape=(vae.latent_channels, 2 * self._grid[0], 2 * self._grid[1]),
            given=None,
            parameter_bytes=held_bytes(network).device + vae.parameter_bytes + controls.nbytes,
        )
