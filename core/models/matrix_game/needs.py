"""What a Matrix-Game rollout takes, by purpose, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from core.elements import WIDE_BYTES, Element
from core.memory.plan import MemoryPlan
from core.models.wan.clip_config import ClipConfig, clip_bytes
from core.models.wan.config import WanConfig
from core.models.wan.pass_bytes import ROTATIONS, pass_bytes
from core.models.wan.vae_config import VaeConfig
from core.models.wan.video_bytes import VideoBytes
from core.placement import Parts, Turns

TILE = (28, 44)
"""Latent rows and columns of a tile: a quarter of 44x80, with the overlap."""

LATENTS = 5
"""Of a chunk, in float32: its noise, noisy, clean and predicted ones, and those of the chunk before it."""

TIME_VECTORS = 32
"""As wide as the residual stream: what timesteps make of shifts, scales and gates, as in `pass_bytes`."""


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
    decode_dtype: Element
    action_frames: int
    encodes: bool

    def options(self, plan: MemoryPlan, dtype: Element) -> Iterator[tuple[Turns, Parts]]:
        """Turns from the fastest to the smallest, within what the user left open."""
        steps = [Turns()]
        if self._video.tiles(TILE):
            steps.append(replace(steps[-1], decode_tile=TILE))
        for turns in steps:
            yield turns, self.parts(plan, dtype, turns)

    def parts(self, plan: MemoryPlan, dtype: Element, turns: Turns) -> Parts:
        """Bytes of everything under some turns."""
        net, element, layout, video = self.network, dtype.itemsize, plan.layout, self._video
        codec = video.decoding(turns.decode_tile)
        context = 2 * net.num_layers * self.clip.num_tokens * net.dim * element
        condition = layout.tokens_per_chunk * net.dim * element
        device = {
            "weights": net.num_parameters * element,
            "picture": context + condition + video.picture_latents(layout.num_frames),
            "actions": self._remembered_bytes(layout.tokens_per_frame, element),
            "codec": video.decoder_held(turns.decode_tile),
            "latents": LATENTS * video.latents(layout.chunk_frames),
        }
        transient = {
            "pass": pass_bytes(net, layout.tokens_per_chunk, dtype, camera_ready=True),
            "pass of the actions": self._steering_bytes(layout.tokens_per_chunk, element),
            "decode": codec.decode_step + video.pictures(layout.chunk_frames + 2),
        }
        if self.encodes:
            device["encoder of the prefix"] = video.encoder_held
            transient["encoding of the prefix"] = video.encoding.encode_step + video.pictures(
                layout.chunk_frames
            )
        tower = clip_bytes(self.clip, element_bytes=element).total
        return Parts(
            device=device,
            transient=transient,
            host={"codec": 0 if turns.decode_tile is None else codec.decoder_cache},
            loading_device={
                "image encoder": tower + video.pictures(1),
                "picture": video.loading(layout.num_frames),
            },
        )

    @cached_property
    def _video(self) -> VideoBytes:
        return VideoBytes(vae=self.vae, size=self.size, decode_dtype=self.decode_dtype)

    def _remembered_bytes(self, tokens_per_frame: int, element: int) -> int:
        """Keys and values of the actions, over all layers."""
        actions = self.network.actions
        if actions is None:
            return 0
        positions = (tokens_per_frame if actions.mouse else 0) + 1
        return 2 * len(actions.layers) * positions * self.action_frames * actions.hidden * element

    def _steering_bytes(self, tokens: int, element: int) -> int:
        """Bytes of the tensors alive at the peak of a pass inside an action module.

        The block holds the residual stream as it came and before the actions, and four tensors of its own.
        The mouse part adds its hidden layer, queries, keys and values, and either what turns the queries or,
        with the turned ones, what was attended to, its copy by token, and the result. The keyboard part, with
        one more residual stream from the mouse, adds its queries and what turns them, or its result and sum.
        """
        actions = self.network.actions
        if actions is None:
            return 0
        dim, hidden, narrow = self.network.dim, actions.hidden, element
        turned = 2 * WIDE_BYTES + narrow if narrow < WIDE_BYTES else WIDE_BYTES
        block = dim * (2 * WIDE_BYTES + 4 * narrow)
        mouse = (
            max(hidden * (5 * narrow + turned), hidden * 7 * narrow + dim * narrow) if actions.mouse else 0
        )
        streams = dim * WIDE_BYTES if actions.mouse else 0
        keyboard = streams + max(hidden * (2 * narrow + turned), dim * (narrow + WIDE_BYTES))
        rotations = ROTATIONS * self.network.head_dim * WIDE_BYTES
        return tokens * (block + max(mouse, keyboard) + rotations) + TIME_VECTORS * dim * WIDE_BYTES
