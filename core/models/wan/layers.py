"""The small parts of a Wan block. Tensor names follow the upstream checkpoints.

Shape suffixes: B batch, F latent frames, N tokens of a latent frame, D width, H heads, K head width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

EPS = 1e-6


def layer_norm(x: Float[Tensor, "... dim"]) -> Float[Tensor, "... dim"]:
    """LayerNorm without gain and bias."""
    return F.layer_norm(x, (x.shape[-1],), eps=EPS)


def modulated_norm(
    x: Float[Tensor, "... dim"], scale: Float[Tensor, "... dim"], shift: Float[Tensor, "... dim"]
) -> Float[Tensor, "... dim"]:
    """LayerNorm, then (1 + scale) times it plus shift.

    Where one row of them holds for all of `x`, as in every pass of a rollout, they are the norm's own gain
    and bias: one pass over memory instead of two. On a CPU that gives the same bits in float32, the residual
    stream's precision; in narrower ones it rounds once instead of twice. On other devices the two agree
    within rounding.
    """
    if scale.numel() == shift.numel() == x.shape[-1]:
        return F.layer_norm(x, (x.shape[-1],), (1 + scale).flatten(), shift.flatten(), EPS)
    return torch.addcmul(shift, layer_norm(x), 1 + scale)


def affine_norm(x: Float[Tensor, "... dim"], norm: nn.LayerNorm) -> Float[Tensor, "... dim"]:
    """LayerNorm in the precision of `x`, whatever that of gain and bias is."""
    return F.layer_norm(x, norm.normalized_shape, norm.weight.to(x), norm.bias.to(x), norm.eps)


def wide_linear(x: Float[Tensor, "... features"], layer: nn.Linear) -> Float[Tensor, "... out"]:
    """A linear layer computed in the precision of `x`, whatever that of its weights is."""
    return F.linear(x, layer.weight.to(x), layer.bias.to(x))


def reused(x: Tensor) -> Tensor | None:
    """Where a result may be written that takes the place of `x`: into it, unless a gradient will need it.

    A new tensor for every step of the residual stream costs more than the arithmetic.
    """
    return None if torch.is_grad_enabled() else x


class RmsNorm(nn.Module):
    """RMS norm over the full width, before the split into heads; normalises in float32."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Float[Tensor, "... dim"]) -> Float[Tensor, "... dim"]:
        """Normalise the last dimension."""
        wide = x.float()
        length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        normed = (wide * torch.rsqrt(length.square() / x.shape[-1] + EPS)).to(x.dtype)
        return torch.mul(normed, self.weight, out=reused(normed))


def sinusoid(timestep: Float[Tensor, "..."], freq_dim: int) -> Float[Tensor, "... freq"]:
    """Cosines, then sines, of the timestep at freq_dim / 2 frequencies; computed in float64."""
    half = freq_dim // 2
    wide = torch.float32 if timestep.device.type == "mps" else torch.float64
    frequencies = 10000.0 ** (-torch.arange(half, device=timestep.device, dtype=wide) / half)
    angle = timestep.to(wide)[..., None] * frequencies
    return torch.cat((angle.cos(), angle.sin()), dim=-1).float()


def attention(
    q_BSHK: Float[Tensor, "batch queries heads head_dim"],
    k_BTHK: Float[Tensor, "batch keys heads head_dim"],
    v_BTHK: Float[Tensor, "batch keys heads head_dim"],
) -> Float[Tensor, "batch queries heads head_dim"]:
    """Full softmax attention, scale 1/sqrt(head_dim), no mask.

    Small problems on the CPU are several times faster as two plain products than in the fused kernel.
    """
    q, k, v = (t.transpose(1, 2) for t in (q_BSHK, k_BTHK, v_BTHK))
    if q.device.type == "cpu" and q.shape[2] * k.shape[2] <= 1 << 20:
        scores = (q * (1.0 / math.sqrt(q.shape[-1]))) @ k.transpose(2, 3)
        return (scores.softmax(-1) @ v).transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)


class Attention(nn.Module):
    """Projections of one attention layer; what is attended to is the caller's business."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.o = nn.Linear(dim, dim)
        self.norm_q = RmsNorm(dim)
        self.norm_k = RmsNorm(dim)

    def query(self, x: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens heads head_dim"]:
        """Normalised queries, split into heads."""
        return self._heads(self.norm_q(self.q(x)))

    def key_value(
        self, x: Float[Tensor, "batch tokens dim"]
    ) -> tuple[Float[Tensor, "batch tokens heads head_dim"], Float[Tensor, "batch tokens heads head_dim"]]:
        """Normalised keys (before RoPE) and values, split into heads."""
        return self._heads(self.norm_k(self.k(x))), self._heads(self.v(x))

    def output(self, x: Float[Tensor, "batch tokens heads head_dim"]) -> Float[Tensor, "batch tokens dim"]:
        """Merge heads and project back to the residual stream."""
        return self.o(x.flatten(2))  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.num_heads, -1)
