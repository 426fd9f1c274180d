"""One block of the causal Wan transformer.

The residual stream is float32 whatever the weights are; norms and modulation happen in it, linear layers and
attention in the weights' precision. Source: golden/lingbot README, section 13.

Shape suffixes: B batch, F latent frames, N tokens of a latent frame, S = F * N tokens, D width.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from core.models.wan.action import ActionModule, LayerActions
from core.models.wan.config import WanConfig
from core.models.wan.layers import EPS, Attention, affine_norm, attention, modulated_norm, reused


@runtime_checkable
class SelfAttentionCache(Protocol):
    """What a block's self-attention attends to: a cache, or a mask over a whole clip in training."""

    def attend(
        self,
        layer: int,
        q: Float[Tensor, "batch tokens heads head_dim"],
        k: Float[Tensor, "batch tokens heads head_dim"],
        v: Float[Tensor, "batch tokens heads head_dim"],
    ) -> Float[Tensor, "batch tokens heads head_dim"]:
        """Attention of the current tokens. Queries and keys come before RoPE: positions are the cache's."""
        ...


class KeyValue(NamedTuple):
    """Keys and values of the context (text or a picture) for one layer, computed once a rollout."""

    k: Float[Tensor, "batch tokens heads head_dim"]
    v: Float[Tensor, "batch tokens heads head_dim"]


class CameraModulation(NamedTuple):
    """What the camera does to the residual stream of one layer; the same in every pass of a chunk."""

    gain: Float[Tensor, "batch frames tokens dim"]
    shift: Float[Tensor, "batch frames tokens dim"]

    def apply(
        self, x: Float[Tensor, "batch frames tokens dim"], *, out: Tensor | None = None
    ) -> Float[Tensor, "batch frames tokens dim"]:
        """Scale and shift the residual stream, into a new tensor or into `out`."""
        return torch.addcmul(self.shift, x, self.gain, out=out)


class WanBlock(nn.Module):
    """adaLN-modulated self-attention, camera injection, cross-attention, actions and feed-forward.

    Source: Wan Team 2025, arXiv:2503.20314 (block); LingBot-World-Fast (camera injection); Matrix-Game-2.0
    (actions).
    """

    def __init__(self, config: WanConfig, layer: int) -> None:
        super().__init__()
        dim = config.dim
        self.layer = layer
        self.camera_injection = config.camera_injection
        self.modulation = nn.Parameter(torch.randn(1, 6, dim) / dim**0.5)
        self.self_attn = Attention(dim, config.num_heads)
        if config.camera_injection != "none":
            self.cam_injector_layer1 = nn.Linear(dim, dim)
            self.cam_injector_layer2 = nn.Linear(dim, dim)
            self.cam_scale_layer = nn.Linear(dim, dim)
            self.cam_shift_layer = nn.Linear(dim, dim)
        if config.has_context:
            self.norm3 = nn.LayerNorm(dim, eps=EPS)
            self.cross_attn = Attention(dim, config.num_heads)
        if config.actions is not None and layer in config.actions.layers:
            self.action_model = ActionModule(config.actions, dim)
        self.ffn = nn.Sequential(
            nn.Linear(dim, config.ffn_dim), nn.GELU(approximate="tanh"), nn.Linear(config.ffn_dim, dim)
        )

    def camera_modulation(self, camera_BFND: Float[Tensor, "batch frames tokens dim"]) -> CameraModulation:
        """Gain and shift that the embedded camera causes in this layer."""
        inner = self.cam_injector_layer2(F.silu(self.cam_injector_layer1(camera_BFND)))
        mixed = camera_BFND + inner
        return CameraModulation(1 + self.cam_scale_layer(mixed), self.cam_shift_layer(mixed))

    def context_key_value(self, context: Float[Tensor, "batch tokens dim"]) -> KeyValue:
        """Keys and values of the embedded context for this layer."""
        return KeyValue(*self.cross_attn.key_value(context))

    def forward(
        self,
        x_BFND: Float[Tensor, "batch frames tokens dim"],
        time_BF6D: Float[Tensor, "#batch #frames 6 dim"],
        *,
        cache: SelfAttentionCache,
        camera: CameraModulation | None = None,
        context: KeyValue | None = None,
        actions: LayerActions | None = None,
    ) -> Float[Tensor, "batch frames tokens dim"]:
        """Run the block on the float32 residual stream; the cache decides what the tokens attend to.

        The stream that comes in stays as it is; from attention on it is the block's own, and overwritten.
        """
        # [batch, frames or 1, 1, dim] each, to broadcast over the tokens of a frame
        mods = (self.modulation[:, None] + time_BF6D).unsqueeze(3).unbind(2)
        shift_attn, scale_attn, gate_attn, shift_ffn, scale_ffn, gate_ffn = mods
        dtype = self.modulation.dtype

        if camera is not None and self.camera_injection == "before_attention":
            x_BFND = camera.apply(x_BFND)
        z = modulated_norm(x_BFND, scale_attn, shift_attn).to(dtype).flatten(1, 2)
        mixed = self.self_attn.output(
            cache.attend(self.layer, self.self_attn.query(z), *self.self_attn.key_value(z))
        )
        x_BFND = torch.addcmul(x_BFND, mixed.view_as(x_BFND), gate_attn)
        if camera is not None and self.camera_injection == "after_attention":
            x_BFND = camera.apply(x_BFND, out=reused(x_BFND))
        if context is not None:
            query = self.cross_attn.query(affine_norm(x_BFND, self.norm3).to(dtype).flatten(1, 2))
            seen = attention(query, context.k, context.v)
            seen = self.cross_attn.output(seen).view_as(x_BFND)
            x_BFND = torch.add(x_BFND, seen, out=reused(x_BFND))
        if actions is not None:
            x_BFND = self.action_model(x_BFND, actions)
        fed = self.ffn(modulated_norm(x_BFND, scale_ffn, shift_ffn).to(dtype))
        return torch.addcmul(x_BFND, fed, gate_ffn, out=reused(x_BFND))
