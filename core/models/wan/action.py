"""Keyboard and mouse in a Wan block: Matrix-Game-2.0's action module.

Tensor names equal the upstream checkpoint's. Its gains of the action norms are not used upstream, and are not
tensors here. Source: golden/matrix_game README, section 8.

Shape suffixes: B batch, F latent frames of a chunk, N tokens of a latent frame, D residual width.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, cast, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from core.models.wan.config import ActionConfig
from core.models.wan.layers import EPS, affine_norm, attention
from core.models.wan.rope import Rotation

ROPE_PAIRS = 4
"""Pairs of a head that turn with the latent frame; the others stay."""

ROPE_BASE = 256.0


@runtime_checkable
class LayerActionCache(Protocol):
    """Action keys and values of one layer: takes those of the chunk, gives all that are within reach."""

    def mouse(
        self,
        k: Float[Tensor, "batch tokens frames heads head_dim"],
        v: Float[Tensor, "batch tokens frames heads head_dim"],
    ) -> tuple[
        Float[Tensor, "batch tokens reach heads head_dim"], Float[Tensor, "batch tokens reach heads head_dim"]
    ]:
        """Of the mouse: one key for each token of each latent frame."""
        ...

    def keyboard(
        self, k: Float[Tensor, "batch frames heads head_dim"], v: Float[Tensor, "batch frames heads head_dim"]
    ) -> tuple[Float[Tensor, "batch reach heads head_dim"], Float[Tensor, "batch reach heads head_dim"]]:
        """Of the keyboard: one key for each latent frame."""
        ...


class ActionInputs(NamedTuple):
    """What the actions do to one layer; the same in every pass of a chunk.

    Attributes:
        mouse: The mouse window's share of the first layer of the mouse part, bias included; None without one.
        keyboard_k: Keys of the keyboard, normalised and turned.
        keyboard_v: Values of the keyboard.
        rotation: Turns mouse keys, and all queries, to their latent frames.
    """

    mouse: Float[Tensor, "batch frames 1 hidden"] | None
    keyboard_k: Float[Tensor, "batch frames heads head_dim"]
    keyboard_v: Float[Tensor, "batch frames heads head_dim"]
    rotation: Rotation


class LayerActions(NamedTuple):
    """What an action module needs for a pass."""

    inputs: ActionInputs
    cache: LayerActionCache


class ActionWindows(NamedTuple):
    """The actions that the latent frames of a chunk see.

    Attributes:
        keyboard: Keys of each video frame in a latent frame's window.
        mouse: Pitch and yaw of the same; None without mouse.
    """

    keyboard: Float[Tensor, "batch frames window keys"]
    mouse: Float[Tensor, "batch frames window 2"] | None


def action_rotation(first_frame: int, num_frames: int, head_dim: int, device: torch.device) -> Rotation:
    """Turns of the first few pairs of a head with the latent frame."""
    wide = torch.float32 if device.type == "mps" else torch.float64
    frames = torch.arange(first_frame, first_frame + num_frames, device=device, dtype=wide)
    angles = torch.zeros(num_frames, head_dim // 2, device=device, dtype=wide)
    exponents = -torch.arange(ROPE_PAIRS, device=device, dtype=wide) / ROPE_PAIRS
    angles[:, :ROPE_PAIRS] = frames[:, None] * ROPE_BASE**exponents
    return Rotation.from_angles(angles)


def head_norm(x: Float[Tensor, "*batch head_dim"]) -> Float[Tensor, "*batch head_dim"]:
    """RMS norm of each head without gain, computed in float32."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + EPS)).to(x.dtype)


class ActionModule(nn.Module):
    """Adds what mouse and keyboard do to the residual stream.

    Args:
        config: Sizes.
        dim: Width of the residual stream.
    """

    def __init__(self, config: ActionConfig, dim: int) -> None:
        super().__init__()
        self.config, hidden = config, config.hidden
        self.keyboard_embed = nn.Sequential(
            nn.Linear(config.keyboard_dim, config.keyboard_embedding),
            nn.SiLU(),
            nn.Linear(config.keyboard_embedding, config.keyboard_embedding),
        )
        if config.mouse:
            self.mouse_mlp = nn.Sequential(
                nn.Linear(dim + 2 * config.window_frames, hidden),
                nn.GELU(approximate="tanh"),
                nn.Linear(hidden, hidden),
                nn.LayerNorm(hidden),
            )
            self.t_qkv = nn.Linear(hidden, 3 * hidden, bias=False)
            self.proj_mouse = nn.Linear(hidden, dim, bias=False)
        self.mouse_attn_q = nn.Linear(dim, hidden, bias=False)
        self.keyboard_attn_kv = nn.Linear(
            config.window_frames * config.keyboard_embedding, 2 * hidden, bias=False
        )
        self.proj_keyboard = nn.Linear(hidden, dim, bias=False)

    def prepare(self, windows: ActionWindows, first_frame: int) -> ActionInputs:
        """All that depends on the actions alone, once a chunk."""
        num_frames, dtype = windows.keyboard.shape[1], self.mouse_attn_q.weight.dtype
        device = windows.keyboard.device
        rotation = action_rotation(first_frame, num_frames, self.config.head_dim, device)
        embedded = self.keyboard_embed(windows.keyboard.to(dtype)).flatten(2)
        k, v = self.keyboard_attn_kv(embedded).unflatten(-1, (2, self.config.num_heads, -1)).unbind(2)
        mouse = None
        if windows.mouse is not None and self.config.mouse:
            first = cast("nn.Linear", self.mouse_mlp[0])
            rows = windows.mouse.to(dtype).flatten(2)
            mouse = F.linear(rows, first.weight[:, -rows.shape[-1] :], first.bias)[:, :, None]
        return ActionInputs(mouse, rotation.apply(head_norm(k)), v, rotation)

    def forward(
        self, x_BFND: Float[Tensor, "batch frames tokens dim"], actions: LayerActions
    ) -> Float[Tensor, "batch frames tokens dim"]:
        """Add what the actions do to the float32 residual stream."""
        if actions.inputs.mouse is not None:
            x_BFND = x_BFND + self._mouse(x_BFND, actions.inputs.mouse, actions)
        return x_BFND + self._keyboard(x_BFND, actions)

    def _mouse(self, x_BFND: Tensor, window: Tensor, actions: LayerActions) -> Tensor:
        """Attention over time, separately for each spatial position."""
        first, activation, second, norm = self.mouse_mlp
        dtype, dim = self.mouse_attn_q.weight.dtype, x_BFND.shape[-1]
        hidden = F.linear(x_BFND.to(dtype), cast("nn.Linear", first).weight[:, :dim]) + window
        hidden = affine_norm(second(activation(hidden)), cast("nn.LayerNorm", norm))
        qkv = self.t_qkv(hidden).unflatten(-1, (3, self.config.num_heads, -1))
        q, k, v = qkv.transpose(1, 2).unbind(3)  # [batch, tokens, frames, heads, head_dim] each
        rotation = actions.inputs.rotation
        keys, values = actions.cache.mouse(rotation.apply(head_norm(k)), v)
        queries = rotation.apply(head_norm(q)).flatten(0, 1)
        mixed = attention(queries, keys.flatten(0, 1), values.flatten(0, 1))
        return self.proj_mouse(mixed.flatten(2).unflatten(0, q.shape[:2]).transpose(1, 2))  # type: ignore[no-any-return]

    def _keyboard(self, x_BFND: Tensor, actions: LayerActions) -> Tensor:
        """Every token attends to the keys of the latent frames, which all positions share."""
        inputs = actions.inputs
        q = self.mouse_attn_q(x_BFND.to(self.mouse_attn_q.weight.dtype))
        q = head_norm(q.unflatten(-1, (self.config.num_heads, -1)))
        # [batch, tokens, frames, heads, head_dim] turns by the frame
        q = inputs.rotation.apply(q.transpose(1, 2)).transpose(1, 2)
        keys, values = actions.cache.keyboard(inputs.keyboard_k, inputs.keyboard_v)
        mixed = attention(q.flatten(1, 2), keys, values)
        return self.proj_keyboard(mixed.flatten(2).view(*x_BFND.shape[:-1], -1))  # type: ignore[no-any-return]
