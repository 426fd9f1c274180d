"""Self-attention of training: a whole clip at once, every noisy chunk seeing the clean chunks before it.

The sequence is [clean chunks 0..C-2 | noisy chunks 0..C-1]. A clean chunk sees the clean chunks up to itself,
a noisy one the clean chunks before it and itself: exactly what a rollout's cache holds, in one pass.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from core.models.wan.rope import Rotation


class TeacherForcing:
    """Stands where a rollout has its cache; see `core.models.wan.block.SelfAttentionCache`.

    Args:
        rotation: RoPE of all tokens of [clean | noisy].
        visible: For each chunk, which clean tokens it may see (own clean chunk included).
        dtype: Arithmetic of the products.
    """

    def __init__(
        self,
        rotation: Rotation,
        visible: Bool[Tensor, "batch chunks clean_tokens"],
        dtype: torch.dtype,
    ) -> None:
        self.rotation = rotation
        self.dtype = dtype
        self.chunks = visible.shape[1]
        self.chunk_tokens = visible.shape[2] // (self.chunks - 1)
        bias = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
        bias.masked_fill_(~visible, -1e4)
        own = torch.arange(visible.shape[2], device=visible.device) // self.chunk_tokens
        earlier = own[None, :] < torch.arange(self.chunks, device=visible.device)[:, None]
        noisy = bias.masked_fill(~earlier, -1e4)
        self.clean_bias = bias[:, None, :-1].repeat_interleave(self.chunk_tokens, 2)
        self.noisy_bias = noisy[:, None].repeat_interleave(self.chunk_tokens, 2)

    def attend(
        self,
        layer: int,  # noqa: ARG002  # every layer sees the same
        q: Float[Tensor, "batch tokens heads head_dim"],
        k: Float[Tensor, "batch tokens heads head_dim"],
        v: Float[Tensor, "batch tokens heads head_dim"],
    ) -> Float[Tensor, "batch tokens heads head_dim"]:
        """Attention of clean and noisy tokens under the training mask."""
        clean_tokens = self.clean_bias.shape[-1]
        q = self.rotation.apply(q).to(self.dtype) * (q.shape[-1] ** -0.5)
        k = self.rotation.apply(k).to(self.dtype)
        with torch.autocast(q.device.type, enabled=False):
            q, k, v = (t.to(self.dtype).transpose(1, 2) for t in (q, k, v))
            k_clean, v_clean = k[:, :, :clean_tokens], v[:, :, :clean_tokens]
            clean = (q[:, :, :clean_tokens] @ k_clean.transpose(2, 3) + self.clean_bias).softmax(-1) @ v_clean
            noisy_q, own_k, own_v = (
                t[:, :, clean_tokens:].unflatten(2, (self.chunks, self.chunk_tokens)) for t in (q, k, v)
            )
            past = noisy_q.flatten(2, 3) @ k_clean.transpose(2, 3) + self.noisy_bias
            own = (noisy_q @ own_k.transpose(3, 4)).flatten(2, 3)
            weights = torch.cat((past, own), dim=-1).softmax(-1)
            noisy = weights[..., :clean_tokens] @ v_clean
            within = weights[..., clean_tokens:].unflatten(2, (self.chunks, self.chunk_tokens)) @ own_v
            return torch.cat((clean, noisy + within.flatten(2, 3)), dim=2).transpose(1, 2)


def visible_clean_tokens(
    batch: int, chunks: int, chunk_tokens: int, generator: torch.Generator, *, drop: float
) -> Bool[Tensor, "batch chunks clean_tokens"]:
    """Clean tokens that each chunk may see: its past, some of it thinned out in some samples.

    A share `drop` of the samples loses a random part of the tokens of all but the first and the two newest
    chunks, so that a pruned chunk or a few tokens of one are nothing new to the network.
    """
    past = torch.arange((chunks - 1) * chunk_tokens) // chunk_tokens
    chunk = torch.arange(chunks)[:, None]
    causal = past <= chunk
    old = (past > 0) & (past < chunk - 2)
    keep_share = torch.rand(batch, 1, chunks - 1, generator=generator)
    thinned = torch.rand(batch, 1, generator=generator) < drop
    token_share = keep_share.repeat_interleave(chunk_tokens, 2)
    keep = torch.rand(batch, 1, len(past), generator=generator) < token_share
    return causal & (keep | ~old | ~thinned[..., None])
