"""What a LingBot rollout takes, by purpose, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from core.memory.bank import Tier
from core.memory.plan import MemoryPlan
from core.models.wan.codec_bytes import codec_bytes
from core.models.wan.config import WanConfig
from core.models.wan.pass_bytes import pass_bytes
from core.models.wan.text_config import TextConfig, text_bytes
from core.models.wan.vae_config import VaeConfig
from core.models.wan.weights_placement import (
    WeightRequest,
    placement_bytes,
    weight_placements,
)
from core.placement import Parts, Turns, bank_tiers, with_memory

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
        sink_follows: Whether the sink's keys are kept before RoPE, too.
    """

    network: WanConfig
    vae: VaeConfig
    size: tuple[int, int]
    decode_dtype: torch.dtype
    text: TextConfig
    encodes: bool
    sink_follows: bool = False

    def options(
        self, plan: MemoryPlan, dtype: torch.dtype, *, weights: WeightRequest, bank: Tier | None
    ) -> Iterator[tuple[Turns, Parts]]:
        """Turns from the fastest to the smallest, within what the user left open."""
        for placement in weight_placements(self.network, weights):
            # Where weights are streamed, all that costs less time has been turned already.
            streamed = placement.resident_blocks is not None
            steps = [Turns(bank=tier, weights=placement) for tier in bank_tiers(bank)]
            steps.append(replace(steps[-1], decode_tile=TILE if self._tiles else None))
            steps.append(replace(steps[-1], camera_ready=False))
            for turns in steps[-1:] if streamed else steps:
                yield self._settled(plan, dtype, turns)

    def parts(self, plan: MemoryPlan, dtype: torch.dtype, turns: Turns) -> Parts:
        """Bytes of everything under some turns."""
        net, element = self.network, dtype.itemsize
        takes = placement_bytes(net, dtype, turns.weights)
        tokens = plan.layout.tokens_per_chunk
        width, height = self.size
        codec = codec_bytes(self.vae, height, width, self.decode_dtype, tile=turns.decode_tile)
        encoding = codec_bytes(self.vae, height, width, torch.float32)
        tiled = turns.decode_tile is not None
        camera_layers = 2 * net.num_layers if turns.camera_ready else 1
        device = {
            "weights": takes.device,
            "text": 2 * net.num_layers * net.text_tokens * net.dim * element,
            "camera and condition": (camera_layers + 1) * tokens * net.dim * element,
            "codec": codec.parameters + (codec.largest_tile_cache if tiled else codec.decoder_cache),
        }
        if self.encodes:
            device["encoder of the prefix"] = encoding.encoder_cache
        passing = pass_bytes(net, tokens, dtype, camera_ready=turns.camera_ready)
        text = text_bytes(self.text, element_bytes=element, max_tokens=net.text_tokens).total
        picture = encoding.parameters + encoding.encoder_cache + encoding.encode_step
        parts = Parts(
            device=device,
            transient={"pass": passing + takes.scratch, "decode": codec.decode_step},
            host={"weights": takes.host, "codec": codec.decoder_cache if tiled else 0},
            loading_device={"picture": picture, **({"text encoder": text} if turns.text_on_device else {})},
            loading_host={} if turns.text_on_device else {"text encoder": text},
        )
        return with_memory(parts, plan, turns.bank, sink_follows=self.sink_follows)

    def _settled(self, plan: MemoryPlan, dtype: torch.dtype, turns: Turns) -> tuple[Turns, Parts]:
        """The prompt is encoded on the device only if that takes no more than the rollout does anyway."""
        elsewhere = replace(turns, text_on_device=False)
        parts, apart = self.parts(plan, dtype, turns), self.parts(plan, dtype, elsewhere)
        return (elsewhere, apart) if apart.device_bytes < parts.device_bytes else (turns, parts)

    @property
    def _tiles(self) -> bool:
        """Whether a tile is smaller than the latent."""
        stride = self.vae.spatial_stride
        return self.size[1] // stride > TILE[0] or self.size[0] // stride > TILE[1]
