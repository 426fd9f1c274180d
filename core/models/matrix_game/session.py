"""Prepares a Matrix-Game rollout from the user's settings; everything is checked before a weight is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor

from core.config import GenerateConfig
from core.errors import InputError
from core.hardware import release_device
from core.memory.footprint import Footprint
from core.memory.plan import MemoryPlan
from core.memory.positions import PositionMode
from core.models.foreign import refuse_foreign
from core.models.matrix_game.action_notes import action_notes
from core.models.matrix_game.actions import ActionTracks, action_tracks, action_windows
from core.models.matrix_game.config import DEFAULT_VARIANT, find_variant
from core.models.matrix_game.controls import MatrixGameControls
from core.models.matrix_game.needs import Needs
from core.models.matrix_game.parts import open_parts
from core.models.matrix_game.pictures import crop_note, cropped
from core.models.matrix_game.transformer import load_transformer
from core.models.matrix_game.viewpoints import dead_reckoned_viewpoints
from core.models.session import LoadedModel, OnLoad, WindowDefaults
from core.models.wan.action import ActionWindows
from core.models.wan.clip import encode_image
from core.models.wan.codec import StreamingDecoder
from core.models.wan.codec_condition import PictureCondition
from core.models.wan.first_picture import FirstPicture
from core.models.wan.given_clip import GivenClip
from core.models.wan.pictures import given_pictures
from core.models.wan.size import STEP_PX, parse_size
from core.models.wan.vae import WanVae, load_vae
from core.models.wan.weights import held_bytes, kept_network
from core.models.weight_cache import WeightCache
from core.placement import Parts, Turns
from core.sampler import NoiseLevels
from core.script import Script
from trajectories import Gains, Trajectory
from trajectories.schema import DEFAULT_FOV_DEG

SHIFT = 5.0
SIZE = (640, 352)
SINK_FRAMES = 3
RETRIEVE_CHUNKS = MappingProxyType({"pose": 3.0, "coverage": 3.0, "rays": 3.0})


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


class MatrixGameSession:
    """See `core.models.session.Session`."""

    default_scale = 1

    def __init__(self, config: GenerateConfig, script: Script) -> None:
        _refuse_foreign(config)
        self._config, self._given_frames = config, script.given_frames
        self._decode_dtype: torch.dtype = getattr(torch, config.decode_dtype)
        self.ways_out = tuple(_ways_out(config))
        self._variant = find_variant(config.variant or DEFAULT_VARIANT)
        self.trained_frames = self._variant.window_frames
        self.passes = len(self._variant.denoising_steps)
        self.defaults = WindowDefaults(
            SINK_FRAMES,
            self._variant.window_frames - script.chunk_frames,
            RETRIEVE_CHUNKS,
            strategy="pose",
            # RoPE was trained on the native window's offsets alone. Source: arXiv:2608.07408.
            positions=PositionMode.SLOT,
        )
        self.trajectory: Trajectory = script.trajectory
        self._pictures = given_pictures(config, script.given_frames)
        self.inputs = self._pictures.inputs
        self.frame_size = SIZE if config.size is None else parse_size(config.size, where="--size")
        self._tracks = action_tracks(script.trajectory, self._variant.name, gains=_gains(config, script))
        fov_deg = DEFAULT_FOV_DEG if config.fov_deg is None else config.fov_deg
        self._grid = (self.frame_size[1] // STEP_PX, self.frame_size[0] // STEP_PX)
        self.viewpoints = dead_reckoned_viewpoints(
            self._tracks,
            grid=self._grid,
            size=self.frame_size,
            chunk_frames=script.chunk_frames,
            fov_deg=fov_deg,
        )
        picture = crop_note(*self._pictures.shape, self.frame_size)
        self.notes = (*_notes(config, picture), *action_notes(script.trajectory, self._tracks))
        self._parts = open_parts(self._variant.name, config.checkpoint)
        self.logged: Mapping[str, object] = {
            **self._tracks.calibration(),
            "fov_deg": fov_deg,
            "checkpoint": str(self._parts.files.transformer),
        }

    def footprint(self, dtype: torch.dtype) -> Footprint:
        """Shapes and bytes of keys, values and weights."""
        net = self._parts.transformer.config
        return Footprint(
            num_layers=net.num_layers,
            num_heads=net.num_heads,
            head_dim=net.head_dim,
            grid=self._grid,
            chunk_frames=self.viewpoints.chunk_frames,
            kv_element_bytes=dtype.itemsize,
            parameter_bytes=net.num_parameters * dtype.itemsize,
        )

    def check_files(self) -> None:
        """All headers were read when the session was opened; what is left is what reads the files."""
        self._parts.check()

    def options(self, plan: MemoryPlan, dtype: torch.dtype) -> Iterator[tuple[Turns, Parts]]:
        """What can be turned when memory is short, and what each turn takes."""
        needs = Needs(
            network=self._parts.transformer.config,
            vae=self._parts.vae.config,
            clip=self._parts.clip.config,
            size=self.frame_size,
            decode_dtype=self._decode_dtype,
            action_frames=self._variant.window_frames,
            encodes=self._given_frames > 0,
        )
        return needs.options(plan, dtype)

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
        given = self._given(vae) if self._given_frames else None
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
        return GivenClip(vae, self._frames, num_frames=self._given_frames, chunk_frames=chunk_frames)


def open_session(config: GenerateConfig, script: Script) -> MatrixGameSession:
    """Prepare a rollout; see `core.models.session.OpenSession`."""
    return MatrixGameSession(config, script)


def _gains(config: GenerateConfig, script: Script) -> Gains:
    """How far actions move the model: as it was trained, as far as that is known, and as the user says."""
    gains = Gains(units_per_key_frame=script.trajectory.gains.units_per_key_frame)
    if config.mouse_deg is not None:
        gains = replace(gains, deg_per_mouse_unit=config.mouse_deg)
    if config.key_units is not None:
        gains = replace(gains, units_per_key_frame=config.key_units)
    return gains


_FOREIGN = {
    "prompt": "takes no text",
    "translation_scale": "is steered by actions, not by cameras",
    "conditioning": "has one way of conditioning",
}


def _refuse_foreign(config: GenerateConfig) -> None:
    """Settings that the model has no use for."""
    refuse_foreign(config, _FOREIGN, hint="leave it out, or use --model lingbot")
    if config.weights not in ("auto", "resident"):
        problem = "matrix-game's weights take 3.2 GB and always stay on the device"
        raise InputError(problem, where="--weights", hint="leave it out")


def _ways_out(config: GenerateConfig) -> Iterator[str]:
    """What is still left to turn, for who asks for less memory than there can be."""
    if config.bank == "device":
        yield "--bank host"
    if config.decode_dtype == "float32":
        yield "--decode-dtype float16"
    if config.memory == "worldkv":
        yield "--retrieve with less"
    yield "a smaller --size"


def _notes(config: GenerateConfig, picture: str | None) -> Iterator[str]:
    """What the user should know before it starts."""
    if picture is not None:
        yield picture
    if config.world_seed:
        yield "the world is the picture's: world_seed has no effect"
