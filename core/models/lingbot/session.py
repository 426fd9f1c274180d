"""Prepares a LingBot rollout from the user's settings; everything is checked before a weight is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

import torch

from core.config import GenerateConfig
from core.elements import Element
from core.hardware import release_device
from core.memory.plan import MemoryPlan
from core.models.lingbot.controls import LingBotControls
from core.models.lingbot.outline import (
    LingBotOutline,
    check_settings,
    draw,
    position_notes,
    stretch_notes,
)
from core.models.lingbot.parts import open_parts
from core.models.lingbot.transformer import load_transformer
from core.models.outline import Outlined
from core.models.session import LoadedModel, OnLoad
from core.models.wan.block_bytes import QUANTISATIONS
from core.models.wan.codec import StreamingDecoder
from core.models.wan.codec_condition import PictureCondition
from core.models.wan.first_picture import FirstPicture
from core.models.wan.given_clip import GivenClip
from core.models.wan.pictures import given_pictures
from core.models.wan.text import default_cache_dir, encode_prompt
from core.models.wan.vae import WanVae, load_vae
from core.models.wan.weights import held_bytes, kept_network
from core.models.wan.weights_quantised import check_quantised
from core.models.weight_cache import WeightCache
from core.placement import Parts, Turns
from core.rollout import GivenLatents
from core.sampler import NoiseLevels
from core.script import Script

SHIFT = 10.0
"""Of the noise schedule that the model was distilled with. Source: golden/lingbot README, section 5."""


class LingBotSession(Outlined):
    """See `core.models.session.Session`."""

    default_scale = 1

    def __init__(self, config: GenerateConfig, script: Script) -> None:
        check_settings(config)
        self._config, self.given_frames = config, script.given_frames
        self._pictures = given_pictures(config, script.given_frames)
        self.inputs = self._pictures.inputs
        drawn = draw(config, script, self._pictures.shape)
        self._path = drawn.path
        self.notes = tuple(_notes(config, drawn, self._pictures.shape))
        self._parts = open_parts(config.model, config.checkpoint)
        super().__init__(replace(drawn, sizes=self._parts.sizes))
        self.logged: Mapping[str, object] = {
            "translation_scale": self._path.scale,
            "checkpoint": str(self._parts.files.transformer),
            "checkpoint_layout": self._parts.files.layout,
        }

    def check_files(self) -> None:
        """All headers were read when the session was opened; what is left is what reads the files."""
        self._parts.check()

    def options(self, plan: MemoryPlan, dtype: Element) -> Iterator[tuple[Turns, Parts]]:
        """What can be turned when memory is short, and what each turn takes."""
        if self._config.weights in QUANTISATIONS:
            check_quantised(self._config.weights)
        return super().options(plan, dtype)

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
        if self.given_frames:
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
            num_frames=self.given_frames,
            chunk_frames=self._path.chunk_frames,
        )


def open_session(config: GenerateConfig, script: Script) -> LingBotSession:
    """Prepare a rollout; see `core.models.session.OpenSession`."""
    return LingBotSession(config, script)


def _notes(config: GenerateConfig, outline: LingBotOutline, picture_shape: tuple[int, int]) -> Iterator[str]:
    """What the user should know before it starts."""
    yield from stretch_notes(outline, picture_shape)
    if not (config.prompt or "").strip():
        yield "no --prompt is given: the model was trained with one"
    if config.world_seed:
        yield "the world is the picture's: world_seed has no effect"
    yield from position_notes(outline)
