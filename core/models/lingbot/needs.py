"""What a LingBot rollout takes, by purpose, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from core.choose_placement import with_window
from core.elements import WIDE_BYTES, Element
from core.memory.plan import MemoryPlan
from core.models.wan.config import WanConfig
from core.models.wan.pass_bytes import pass_bytes
from core.models.wan.text_config import TextConfig, text_bytes
from core.models.wan.vae_config import VaeConfig
from core.models.wan.video_bytes import VideoBytes
from core.models.wan.weights_placement import (
    WeightRequest,
    placement_bytes,
    weight_placements,
)
from core.placement import Parts, Turns

TILE = (36, 56)
"""Latent rows and columns of a tile: a quarter of 60x104, with the overlap."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Shapes that decide what a rollout takes.

    Attributes:
        network: Sizes of the transformer.
        vae: Sizes of the codec.
        size: Width and height of the video in pixels.
        decode_dtype: In which the codec computes.
        text: Sizes of the text encoder.
        encodes: Whether a given clip is encoded while the rollout runs.
    """

    network: WanConfig
    vae: VaeConfig
    size: tuple[int, int]
    decode_dtype: Element
    text: TextConfig
    encodes: bool

    def options(
        self, plan: MemoryPlan, dtype: Element, *, weights: WeightRequest
    ) -> Iterator[tuple[Turns, Parts]]:
        """Turns from the fastest to the smallest, within what the user left open."""
        for i, placement in enumerate(weight_placements(self.network, weights)):
            # Where weights are streamed for want of room, all that costs less time has been turned already.
            streamed = placement.resident_blocks is not None and not (weights == "streamed" and i == 0)
            steps = [Turns(weights=placement)]
            steps.append(replace(steps[-1], decode_tile=TILE if self._video.tiles(TILE) else None))
            steps.append(replace(steps[-1], camera_ready=False))
            for turns in steps[-1:] if streamed else steps:
                yield self._settled(plan, dtype, turns)

    def parts(self, plan: MemoryPlan, dtype: Element, turns: Turns) -> Parts:
        """Bytes of everything under some turns."""
        net, element = self.network, dtype.itemsize
        takes = placement_bytes(net, dtype, turns.weights)
        video, tokens, chunk_frames = self._video, plan.layout.tokens_per_chunk, plan.layout.chunk_frames
        codec = video.decoding(turns.decode_tile)
        stream = tokens * net.dim * element
        camera = stream * (2 * net.num_layers if turns.camera_ready else 1)
        device = {
            "weights": takes.device,
            "text": 2 * net.num_layers * net.text_tokens * net.dim * element,
            "camera and condition": camera + stream + video.picture_latents(plan.layout.num_frames),
            "codec": video.decoder_held(turns.decode_tile),
        }
        transient = {
            "pass": pass_bytes(net, tokens, dtype, camera_ready=turns.camera_ready) + takes.scratch,
            "decode": codec.decode_step + video.pictures(chunk_frames + 2),
            # Beside what is kept of it: features, and what a layer makes its gain and shift of.
            "camera": 5 * stream + 4 * tokens * net.camera_features * WIDE_BYTES,
        }
        if self.encodes:
            device["encoder of the prefix"] = video.encoder_held
            transient["encoding of the prefix"] = video.encoding.encode_step + video.pictures(chunk_frames)
        on_host = 0 if turns.decode_tile is None else codec.decoder_cache
        parts = Parts(device=device, transient=transient, host={"weights": takes.host, "codec": on_host})
        return self._with_loading(parts, plan, element, turns)

    def _with_loading(self, parts: Parts, plan: MemoryPlan, element: int, turns: Turns) -> Parts:
        """The same with what encodes prompt and picture, before the weights are there."""
        loading = {"picture": self._video.loading(plan.layout.num_frames)}
        text = text_bytes(self.text, element_bytes=element, max_tokens=self.network.text_tokens).total
        if not turns.text_on_device:
            return replace(parts, loading_device=loading, loading_host={"text encoder": text})
        return replace(parts, loading_device={**loading, "text encoder": text})

    def _settled(self, plan: MemoryPlan, dtype: Element, turns: Turns) -> tuple[Turns, Parts]:
        """The prompt is encoded on the device only if that takes no more than the rollout does anyway."""
        elsewhere = replace(turns, text_on_device=False)
        parts, apart = self.parts(plan, dtype, turns), self.parts(plan, dtype, elsewhere)
        grows = with_window(apart, plan).device_bytes < with_window(parts, plan).device_bytes
        return (elsewhere, apart) if grows else (turns, parts)

    @cached_property
    def _video(self) -> VideoBytes:
        return VideoBytes(vae=self.vae, size=self.size, decode_dtype=self.decode_dtype)
