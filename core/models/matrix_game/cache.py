"""Keys and values of the actions: a ring of the newest latent frames for every action module."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from core.errors import InputError
from core.models.wan.action import LayerActionCache
from core.models.wan.config import ActionConfig


class ActionCache:
    """What is remembered of mouse and keyboard; never more than a few latent frames, and without a sink.

    Attention needs no order among keys, so a latent frame lies at its number modulo the ring's size, and the
    current chunk is overwritten in place in every pass. Source: golden/matrix_game README, section 8.

    Args:
        config: Sizes.
        tokens_per_frame: Spatial positions of a latent frame.
        frames: Latent frames within reach, the current chunk's included.
        chunk_frames: Latent frames denoised together.
        batch: Rollouts that run side by side.
        device: Where keys and values lie.
        dtype: Of keys and values.
    """

    def __init__(
        self,
        config: ActionConfig,
        tokens_per_frame: int,
        frames: int,
        *,
        chunk_frames: int = 3,
        batch: int = 1,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        if frames < chunk_frames:
            raise InputError(
                f"{frames} latent frames of actions do not hold a chunk of {chunk_frames}",
                where="action window",
            )
        self.config, self.frames = config, frames
        layers, heads, width = len(config.layers), config.num_heads, config.head_dim
        tokens = tokens_per_frame if config.mouse else 0
        mouse = (2, layers, batch, tokens, frames, heads, width)
        self.mouse_kv = torch.zeros(mouse, device=device, dtype=dtype)
        self.keyboard_kv = torch.zeros((2, layers, batch, frames, heads, width), device=device, dtype=dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of both rings."""
        return self.mouse_kv.nbytes + self.keyboard_kv.nbytes

    def chunk(self, first_frame: int, num_frames: int) -> list[LayerActionCache]:
        """The caches of all action layers while a chunk is denoised and committed."""
        slots = torch.arange(first_frame, first_frame + num_frames, device=self.mouse_kv.device) % self.frames
        filled = min(self.frames, first_frame + num_frames)
        return [_LayerRing(self, layer, slots, filled) for layer in range(len(self.config.layers))]

    def state(self) -> dict[str, Tensor]:
        """Everything a snapshot needs."""
        return {"mouse": self.mouse_kv, "keyboard": self.keyboard_kv}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over a snapshot of the same shape."""
        self.mouse_kv.copy_(state["mouse"])
        self.keyboard_kv.copy_(state["keyboard"])


@dataclass(frozen=True, eq=False)
class _LayerRing:
    """One layer's part of the rings during one chunk; see `LayerActionCache`."""

    ring: ActionCache
    layer: int
    slots: Tensor
    filled: int

    def mouse(
        self,
        k: Float[Tensor, "batch tokens frames heads head_dim"],
        v: Float[Tensor, "batch tokens frames heads head_dim"],
    ) -> tuple[
        Float[Tensor, "batch tokens reach heads head_dim"], Float[Tensor, "batch tokens reach heads head_dim"]
    ]:
        """Write the chunk's, read all within reach."""
        kept_k, kept_v = self.ring.mouse_kv[:, self.layer]
        kept_k.index_copy_(2, self.slots, k.to(kept_k))
        kept_v.index_copy_(2, self.slots, v.to(kept_v))
        return kept_k[:, :, : self.filled].to(k), kept_v[:, :, : self.filled].to(v)

    def keyboard(
        self, k: Float[Tensor, "batch frames heads head_dim"], v: Float[Tensor, "batch frames heads head_dim"]
    ) -> tuple[Float[Tensor, "batch reach heads head_dim"], Float[Tensor, "batch reach heads head_dim"]]:
        """Write the chunk's, read all within reach."""
        kept_k, kept_v = self.ring.keyboard_kv[:, self.layer]
        kept_k.index_copy_(1, self.slots, k.to(kept_k))
        kept_v.index_copy_(1, self.slots, v.to(kept_v))
        return kept_k[:, : self.filled].to(k), kept_v[:, : self.filled].to(v)
