"""Prepares a Matrix-Game rollout from the user's settings; everything is checked before a weight is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from core.config import GenerateConfig
from core.hardware import release_device
from core.models.matrix_game.actions import ActionTracks, action_windows
from core.models.matrix_game.config import DEFAULT_VARIANT, find_variant
from core.models.matrix_game.controls import MatrixGameControls
from core.models.matrix_game.crop import crop_note
from core.models.matrix_game.outline import check_settings, draw
from core.models.matrix_game.parts import open_parts
from core.models.matrix_game.pictures import cropped
from core.models.matrix_game.transformer import load_transformer
from core.models.outline import Outlined
from core.models.session import LoadedModel, OnLoad
from core.models.wan.action import ActionWindows
from core.models.wan.clip import encode_image
from core.models.wan.codec import StreamingDecoder
from core.models.wan.codec_condition import PictureCondition
from core.models.wan.first_picture import FirstPicture
from core.models.wan.given_clip import GivenClip
from core.models.wan.pictures import given_pictures
from core.models.wan.vae import WanVae, load_vae
from core.models.wan.weights import held_bytes, kept_network
from core.models.weight_cache import WeightCache
from core.placement import Turns
from core.sampler import NoiseLevels
from core.script import Script

SHIFT = 5.0


class TrackActions:
    """The actions of a script; see `core.models.matrix_game.controls.Actions`."""

    def __init__(self, tracks: ActionTracks) -> None:
        self._tracks = tracks

    def windows(self, frames: range) -> ActionWindows:
        """Keys and mouse of the video frames in each latent frame's window."""
        keyboard, mouse = self._tracks.keyboard, self._tracks.mouse
        keys = torch.from_numpy(action_windows(keyboard, frames))[None]
        moved = None if mouse is None else torch.from_numpy(action_windows(mouse, frames))[None]
        return ActionWindows(keys, moved)


class MatrixGameSession(Outlined):
    """See `core.models.session.Session`."""

    default_scale = 1

    def __init__(self, config: GenerateConfig, script: Script) -> None:
        check_settings(config)
        self.given_frames = script.given_frames
        self._decode_dtype: torch.dtype = getattr(torch, config.decode_dtype)
        self._variant = find_variant(config.variant or DEFAULT_VARIANT)
        self._pictures = given_pictures(config, script.given_frames)
        self.inputs = self._pictures.inputs
        drawn = draw(config, script)
        self._tracks, self._grid = drawn.tracks, drawn.viewpoints.grid
        picture = crop_note(*self._pictures.shape, drawn.frame_size)
        self.notes = (*_notes(config, picture), *drawn.notes)
        self._parts = open_parts(self._variant.name, config.checkpoint)
        super().__init__(replace(drawn, sizes=self._parts.sizes))
        self.logged: Mapping[str, object] = {
            **self._tracks.calibration(),
            "fov_deg": drawn.fov_deg,
            "checkpoint": str(self._parts.files.transformer),
        }

    def check_files(self) -> None:
        """All headers were read when the session was opened; what is left is what reads the files."""
        self._parts.check()

    def load(
        self,
        device: torch.device,
        dtype: torch.dtype,
        turns: Turns,
        on_load: OnLoad | None = None,
        weights: WeightCache | None = None,
    ) -> LoadedModel:
        """Encode the picture, then load the network; what only encodes is freed first."""
        told = on_load or (lambda *_: None)
        told("image encoder", 0, 0)
        first = self._frames(0, 1)[:, :, 0].to(device)
        visual = encode_image(first, self._parts.clip_path, device=device, dtype=dtype)
        told("codec", 0, 0)
        vae = load_vae(self._parts.vae_path, device=device)
        picture = FirstPicture(
            PictureCondition(vae, first),
            self.viewpoints.num_frames,
            on_frame=lambda: told("first picture", 0, 0),
        )
        given = self._given(vae) if self.given_frames else None
        codecs = {vae} if given is not None else set()
        if self._decode_dtype != torch.float32:
            del vae  # before the next one comes, unless it encodes the prefix
            vae = load_vae(self._parts.vae_path, device=device, dtype=self._decode_dtype)
        release_device(device)
        network = kept_network(
            weights,
            ("matrix-game", str(self._parts.files.transformer), dtype),
            device,
            lambda: load_transformer(
                self._parts.transformer, device=device, dtype=dtype, on_progress=partial(told, "transformer")
            ),
        )
        controls = MatrixGameControls(
            network,
            self.viewpoints,
            picture,
            TrackActions(self._tracks),
            visual,
            action_frames=self._variant.window_frames,
        )
        return LoadedModel(
            controls=controls,
            decoder=StreamingDecoder(
                vae, tile=turns.decode_tile, tile_caches_on_host=turns.decode_tile is not None
            ),
            levels=NoiseLevels.from_steps(self._variant.denoising_steps, SHIFT),
            latent_shape=(vae.latent_channels, 2 * self._grid[0], 2 * self._grid[1]),
            given=given,
            parameter_bytes=held_bytes(network).device
            + sum(codec.parameter_bytes for codec in {vae, *codecs})
            + controls.nbytes,
        )

    def _frames(self, start: int, stop: int) -> Float[Tensor, "1 3 frames height width"]:
        """Given frames as the codec takes them."""
        return cropped(self._pictures.pictures[start:stop], self.frame_size).transpose(0, 1)[None]

    def _given(self, vae: WanVae) -> GivenClip:
        """Latents of the prefix video."""
        chunk_frames = self.viewpoints.chunk_frames
        return GivenClip(vae, self._frames, num_frames=self.given_frames, chunk_frames=chunk_frames)


def open_session(config: GenerateConfig, script: Script) -> MatrixGameSession:
    """Prepare a rollout; see `core.models.session.OpenSession`."""
    return MatrixGameSession(config, script)


def _notes(config: GenerateConfig, picture: str | None) -> Iterator[str]:
    """What the user should know before it starts."""
    if picture is not None:
        yield picture
    if config.world_seed:
        yield "the world is the picture's: world_seed has no effect"
