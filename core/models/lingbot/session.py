"""Prepares a LingBot rollout from the user's settings; everything is checked before a weight is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from types import MappingProxyType

import torch

from core.config import GenerateConfig
from core.hardware import release_device
from core.memory.footprint import Footprint
from core.memory.plan import MemoryPlan
from core.memory.viewpoints import Viewpoints
from core.models.foreign import refuse_foreign
from core.models.lingbot.controls import LingBotControls
from core.models.lingbot.needs import Needs
from core.models.lingbot.parts import open_parts
from core.models.lingbot.path import CameraPath
from core.models.lingbot.size import release_size, size_of
from core.models.lingbot.transformer import load_transformer
from core.models.session import LoadedModel, OnLoad, WindowDefaults
from core.models.wan.block_bytes import QUANTISATIONS
from core.models.wan.codec import StreamingDecoder
from core.models.wan.codec_condition import PictureCondition
from core.models.wan.first_picture import FirstPicture
from core.models.wan.given_clip import GivenClip
from core.models.wan.pictures import given_pictures
from core.models.wan.size import parse_size
from core.models.wan.text import default_cache_dir, encode_prompt
from core.models.wan.vae import WanVae, load_vae
from core.models.wan.weights import held_bytes, kept_network
from core.models.wan.weights_quantised import check_quantised
from core.models.weight_cache import WeightCache
from core.placement import Parts, Turns
from core.rollout import GivenLatents
from core.sampler import NoiseLevels
from core.script import Script
from trajectories import Trajectory

SHIFT = 10.0
"""Of the noise schedule that the model was distilled with. Source: golden/lingbot README, section 5."""

POSITION_ROWS = 1024
"""Latent frames that the reference implementation can number; what lies beyond, nobody has tried."""

LOOK_BACK_FRAMES: Mapping[str, int] = MappingProxyType({"lingbot": 27, "lingbot-v2": 18})
"""Latent frames that the releases look back: sink 3, retrieved 18, recent and current 6; V2's window.

How far back the models looked in training is not published.
"""

V2_SINK_FRAMES = 6
"""Of the second version's window of 18 frames. Source: golden/lingbot README, section 14, and its release."""

MOST_STRETCH = 0.03
"""Change of a picture's shape that is not worth a word: whole tokens make sizes differ that much."""

_WHOLE_CHUNKS = MappingProxyType({"pose": 3.0, "coverage": 3.0, "rays": 3.0})
_FOREIGN = {
    "variant": "has no variants",
    "mouse_deg": "is steered by cameras",
    "key_units": "is steered by cameras",
    "fov_deg": "takes the trajectory's field of view",
}


def _window(model: str, chunk_frames: int) -> tuple[WindowDefaults, int]:
    """The window as it was released, or as the paper has it, and how far back it reaches."""
    reach = LOOK_BACK_FRAMES[model]
    if model == "lingbot-v2":
        recent = reach - V2_SINK_FRAMES - chunk_frames
        return WindowDefaults(V2_SINK_FRAMES, recent, _WHOLE_CHUNKS, strategy="pose"), reach
    # The paper's window: sink 3, nine frames' worth of retrieved tokens, recent 3 beside the current 3.
    return WindowDefaults(3, chunk_frames, _WHOLE_CHUNKS, strategy="pose"), reach


class LingBotSession:
    """See `core.models.session.Session`."""

    default_scale = 1
    passes = NoiseLevels.from_table(SHIFT).num_steps

    def __init__(self, config: GenerateConfig, script: Script) -> None:
        refuse_foreign(config, _FOREIGN, hint="leave it out, or use --model matrix-game")
        self._config, self._given_frames = config, script.given_frames
        self.defaults, self.trained_frames = _window(config.model, script.chunk_frames)
        self.ways_out = tuple(_ways_out(config))
        self.trajectory: Trajectory = script.trajectory
        self._pictures = given_pictures(config, script.given_frames)
        self.inputs = self._pictures.inputs
        self.frame_size = _frame_size(config, self._pictures.shape)
        self._path = _path(config, script, self.frame_size)
        self.viewpoints: Viewpoints = self._path.viewpoints
        self.notes = tuple(_notes(config, self._pictures.shape, self.frame_size, self.viewpoints))
        self._parts = open_parts(config.model, config.checkpoint)
        self.logged: Mapping[str, object] = {
            "translation_scale": self._path.scale,
            "checkpoint": str(self._parts.files.transformer),
            "checkpoint_layout": self._parts.files.layout,
        }

    def footprint(self, dtype: torch.dtype) -> Footprint:
        """Shapes and bytes of keys, values and weights."""
        net = self._parts.transformer.config
        return Footprint(
            num_layers=net.num_layers,
            num_heads=net.num_heads,
            head_dim=net.head_dim,
            grid=self._path.grid,
            chunk_frames=self._path.chunk_frames,
            kv_element_bytes=dtype.itemsize,
            parameter_bytes=net.num_parameters * dtype.itemsize,
        )

    def check_files(self) -> None:
        """All headers were read when the session was opened; what is left is what reads the files."""
        self._parts.check()

    def options(self, plan: MemoryPlan, dtype: torch.dtype) -> Iterator[tuple[Turns, Parts]]:
        """What can be turned when memory is short, and what each turn takes."""
        if self._config.weights in QUANTISATIONS:
            check_quantised(self._config.weights)
        needs = Needs(
            network=self._parts.transformer.config,
            vae=self._parts.vae.config,
            size=self.frame_size,
            decode_dtype=getattr(torch, self._config.decode_dtype),
            text=self._parts.text_config,
            encodes=self._given_frames > 0,
        )
        return needs.options(plan, dtype, weights=self._config.weights)

    def load(
        self,
        device: torch.device,
        dtype: torch.dtype,
        turns: Turns,
        on_load: OnLoad | None = None,
        weights: WeightCache | None = None,
    ) -> LoadedModel:
        """Encode the prompt and the picture, then load the network; what encodes is freed first."""
        told = on_load or (lambda *_: None)
        told("text encoder", 0, 0)
        context = encode_prompt(
            self._config.prompt or "",
            self._parts.text,
            device=device if turns.text_on_device else torch.device("cpu"),
            dtype=dtype,
            max_tokens=self._parts.transformer.config.text_tokens,
            cache_dir=default_cache_dir(),
        )
        vae_path = self._parts.vae_path
        told("codec", 0, 0)
        vae = load_vae(vae_path, device=device)
        first = self._pictures.resized(0, 1, self.frame_size)[:, :, 0].to(device)
        picture = FirstPicture(
            PictureCondition(vae, first),
            self.viewpoints.num_frames,
            on_frame=lambda: told("first picture", 0, 0),
        )
        given, encodes = None, set[WanVae]()
        if self._given_frames:
            given, encodes = self._given(vae), {vae}
        decode_dtype = getattr(torch, self._config.decode_dtype)
        if decode_dtype != torch.float32:
            del vae  # before the next one comes, unless it encodes the prefix
            vae = load_vae(vae_path, device=device, dtype=decode_dtype)
        release_device(device)
        network = kept_network(
            weights,
            ("lingbot", str(self._parts.files.transformer), turns.weights, dtype),
            device,
            lambda: load_transformer(
                self._parts.transformer,
                placement=turns.weights,
                device=device,
                dtype=dtype,
                on_progress=partial(told, "transformer"),
            ),
        )
        return LoadedModel(
            controls=LingBotControls(network, self._path, picture, context, camera_ready=turns.camera_ready),
            decoder=StreamingDecoder(
                vae, tile=turns.decode_tile, tile_caches_on_host=turns.decode_tile is not None
            ),
            levels=NoiseLevels.from_table(SHIFT),
            latent_shape=(vae.latent_channels, 2 * self._path.grid[0], 2 * self._path.grid[1]),
            given=given,
            parameter_bytes=held_bytes(network).device
            + sum(codec.parameter_bytes for codec in {vae, *encodes}),
        )

    def _given(self, vae: WanVae) -> GivenLatents:
        """Latents of the prefix video, encoded chunk by chunk."""
        return GivenClip(
            vae,
            lambda start, stop: self._pictures.resized(start, stop, self.frame_size),
            num_frames=self._given_frames,
            chunk_frames=self._path.chunk_frames,
        )


def open_session(config: GenerateConfig, script: Script) -> LingBotSession:
    """Prepare a rollout; see `core.models.session.OpenSession`."""
    return LingBotSession(config, script)


def _ways_out(config: GenerateConfig) -> Iterator[str]:
    """What is still left to turn, for who asks for less memory than there can be."""
    if config.weights == "resident":
        yield "--weights streamed"
    if config.bank == "device":
        yield "--bank host"
    if config.weights not in ("int8", "fp8"):
        yield "--weights int8 (costs some fidelity)"
    if config.decode_dtype == "float32":
        yield "--decode-dtype bfloat16"
    yield "a smaller --size"


def _frame_size(config: GenerateConfig, shape: tuple[int, int]) -> tuple[int, int]:
    """Width and height of the video."""
    if config.size is not None:
        return parse_size(config.size, where="--size")
    return release_size(*shape) if config.conditioning == "release" else size_of(*shape)


def _path(config: GenerateConfig, script: Script, size: tuple[int, int]) -> CameraPath:
    if config.conditioning == "exact":
        return CameraPath.exact(script.trajectory, size, script.chunk_frames, config.translation_scale)
    source = script.uncut if config.fit == "cut" else script.trajectory
    return CameraPath.as_released(source, size, script.chunk_frames, config.translation_scale)


def _notes(
    config: GenerateConfig, shape: tuple[int, int], size: tuple[int, int], views: Viewpoints
) -> Iterator[str]:
    """What the user should know before it starts."""
    (rows, cols), (width, height) = shape, size
    if abs(width * rows / (height * cols) - 1) > MOST_STRETCH:
        yield f"the picture of {cols}x{rows} is stretched to {width}x{height}"
    if not (config.prompt or "").strip():
        yield "no --prompt is given: the model was trained with one"
    if config.world_seed:
        yield "the world is the picture's: world_seed has no effect"
    if views.num_frames > POSITION_ROWS and config.positions not in ("slot", "contiguous"):
        yield (
            f"{views.num_frames} latent frames: beyond {POSITION_ROWS}, keys stand further back in time than "
            "the reference implementation can number; --positions slot keeps them near"
        )
