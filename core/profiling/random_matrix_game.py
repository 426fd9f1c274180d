"""A Matrix-Game rollout without files: the real session with made-up weights and a picture of noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from core.config import GenerateConfig
from core.hardware import release_device
from core.memory.positions import PositionMode
from core.models.matrix_game import session as real
from core.models.matrix_game.actions import action_tracks
from core.models.matrix_game.config import find_variant
from core.models.matrix_game.controls import MatrixGameControls
from core.models.matrix_game.viewpoints import dead_reckoned_viewpoints
from core.models.session import LoadedModel, OnLoad, WindowDefaults
from core.models.wan.clip_config import CLIP_VIT_H, ClipConfig
from core.models.wan.codec import StreamingDecoder
from core.models.wan.codec_condition import PictureCondition
from core.models.wan.first_picture import FirstPicture
from core.models.wan.size import STEP_PX
from core.models.wan.weights import held_bytes
from core.models.wan.weights_placement import WeightPlacement
from core.models.weight_cache import WeightCache
from core.placement import Turns
from core.profiling.random_lingbot import Sized, noise_picture
from core.profiling.random_weights import random_network, random_vae
from core.profiling.sizes import Sizes
from core.sampler import NoiseLevels
from core.script import Script

UNIVERSAL = find_variant("universal")


@dataclass(frozen=True)
class SizedParts:
    """What the real session asks of a checkpoint before it loads. See `matrix_game.parts.MatrixGameParts`."""

    transformer: Sized
    vae: Sized
    clip: Sized


class RandomMatrixGameSession(real.MatrixGameSession):
    """See `core.models.session.Session`; the universal variant, footprint and placement the real session's.

    Args:
        config: Settings of the rollout.
        script: What it shows.
        sizes: Of network, codec and picture.
    """

    def __init__(self, config: GenerateConfig, script: Script, sizes: Sizes) -> None:
        self._config, self._given_frames, self._sizes = config, 0, sizes
        self._decode_dtype: torch.dtype = getattr(torch, config.decode_dtype)
        self._variant, self.trained_frames = UNIVERSAL, UNIVERSAL.window_frames
        self.passes = len(UNIVERSAL.denoising_steps)
        self.ways_out = ("a smaller --size", "a smaller --scale")
        self.defaults = WindowDefaults(
            real.SINK_FRAMES,
            UNIVERSAL.window_frames - script.chunk_frames,
            real.RETRIEVE_CHUNKS,
            strategy="pose",
            positions=PositionMode.SLOT,
        )
        self.trajectory, self.frame_size = script.trajectory, sizes.frame_size
        self._grid = (self.frame_size[1] // STEP_PX, self.frame_size[0] // STEP_PX)
        self._tracks = action_tracks(script.trajectory, UNIVERSAL.name)
        self.viewpoints = dead_reckoned_viewpoints(
            self._tracks, grid=self._grid, size=self.frame_size, chunk_frames=script.chunk_frames
        )
        self.inputs: Mapping[str, Path] = {}
        self.notes: tuple[str, ...] = ()
        self.logged: Mapping[str, object] = {"weights": "random"}
        clip: ClipConfig = CLIP_VIT_H
        parts = SizedParts(Sized(sizes.network), Sized(sizes.vae), Sized(clip))
        self._parts = cast("Any", parts)

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
        """Make codec and network; the picture's encoder is left out, its tokens are noise."""
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
            real.TrackActions(self._tracks),
            visual.to(device),
            action_frames=UNIVERSAL.window_frames,
        )
        return LoadedModel(
            controls=controls,
            decoder=StreamingDecoder(
                vae, tile=turns.decode_tile, tile_caches_on_host=turns.decode_tile is not None
            ),
            levels=NoiseLevels.from_steps(UNIVERSAL.denoising_steps, real.SHIFT),
            latent_shape=(vae.latent_channels, 2 * self._grid[0], 2 * self._grid[1]),
            given=None,
            parameter_bytes=held_bytes(network).device + vae.parameter_bytes + controls.nbytes,
        )
