"""What a Matrix-Game rollout takes, by purpose, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from core.memory.bank import Tier
from core.memory.plan import MemoryPlan
from core.models.wan.clip_config import ClipConfig, clip_bytes
from core.models.wan.codec_bytes import codec_bytes
from core.models.wan.config import WanConfig
from core.models.wan.pass_bytes import pass_bytes
from core.models.wan.vae_config import VaeConfig
from core.placement import Parts, Turns, bank_tiers, with_memory

TILE = (28, 44)
"""Latent rows and columns of a tile: a quarter of 44x80, with the overlap."""

WIDE_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Shapes that decide what a rollout takes.

    Attributes:
        network: Sizes of the transformer.
        vae: Sizes of the codec.
        clip: Sizes of the image encoder.
        size: Width and height of the video in pixels.
        decode_dtype: In which the codec computes.
        action_frames: Latent frames of actions within reach.
        encodes: Whether a given clip is encoded while the rollout runs.
    """

    network: WanConfig
    vae: VaeConfig
    clip: ClipConfig
    size: tuple[int, int]
    decode_dtype: torch.dtype
    action_frames: int
    encodes: bool

    def options(
        self, plan: MemoryPlan, dtype: torch.dtype, *, bank: Tier | None, sink_follows: bool
    ) -> Iterator[tuple[Turns, Parts]]:
        """Turns from the fastest to the smallest, within what the user left open."""
        steps = [Turns(bank=tier) for tier in bank_tiers(bank)]
        stride = self.vae.spatial_stride
        if self.size[1] // stride > TILE[0] or self.size[0] // stride > TILE[1]:
            steps.append(replace(steps[-1], decode_tile=TILE))
        for turns in steps:
            yield turns, self.parts(plan, dtype, turns, sink_follows=sink_follows)

    def parts(self, plan: MemoryPlan, dtype: torch.dtype, turns: Turns, *, sink_follows: bool) -> Parts:
        """Bytes of everything under some turns."""
        net, element, tokens = self.network, dtype.itemsize, plan.layout.tokens_per_chunk
        width, height = self.size
        codec = codec_bytes(self.vae, height, width, self.decode_dtype, tile=turns.decode_tile)
        encoding = codec_bytes(self.vae, height, width, torch.float32)
        tiled = turns.decode_tile is not None
        picture_bytes = 3 * width * height * WIDE_BYTES
        context = 2 * net.num_layers * self.clip.num_tokens * net.dim * element
        device = {
            "weights": net.num_parameters * element,
            "picture": context + tokens * net.dim * element,
            "actions": self._action_bytes(plan.layout.tokens_per_frame, element),
            # The picture's encoder is remembered until its latents stay the same.
            "codec": codec.parameters
            + (codec.largest_tile_cache if tiled else codec.decoder_cache)
            + (1 + self.encodes) * encoding.encoder_cache,
        }
        shown = plan.layout.chunk_frames * self.vae.temporal_stride * picture_bytes
        clip = clip_bytes(self.clip, element_bytes=element).total
        encoded = encoding.parameters + encoding.encoder_cache + encoding.encode_step
        parts = Parts(
            device=device,
            transient={
                "pass": pass_bytes(net, tokens, dtype, camera_ready=True)
                + self._mouse_bytes(tokens, element),
                "decode": codec.decode_step + shown,
            },
            host={"codec": codec.decoder_cache if tiled else 0},
            loading_device={"image encoder": clip + picture_bytes, "encoding": encoded + picture_bytes},
        )
        return with_memory(parts, plan, turns.bank, sink_follows=sink_follows)

    def _action_bytes(self, tokens_per_frame: int, element: int) -> int:
        """Keys and values of the actions, over all layers."""
        actions = self.network.actions
        if actions is None:
            return 0
        positions = (tokens_per_frame if actions.mouse else 0) + 1
        return 2 * len(actions.layers) * positions * self.action_frames * actions.hidden * element

    def _mouse_bytes(self, tokens: int, element: int) -> int:
        """What an action module holds at its peak: queries, keys and values, and all keys within reach."""
        actions = self.network.actions
        if actions is None:
            return 0
        reach = 2 * tokens // 3 * self.action_frames  # copied once, to be read in order of positions
        return (8 * tokens + reach) * actions.hidden * element
