"""Operations and bytes of a chunk, counted from shapes: known without weights, and without torch.

A multiplication and its addition count as two operations. Norms, activations, RoPE and other element-wise
work are left out: they are what the engine's overhead is made of.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.models.wan.config import WanConfig

PATCH_CELLS = 4


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one chunk, or one pass over it, must do.

    Attributes:
        linear_flops: Operations of linear layers.
        attention_flops: Operations of attention, to keys, context and actions.
        weight_bytes: Weights that are read.
        cache_bytes: Keys and values that are read.
    """

    linear_flops: int = 0
    attention_flops: int = 0
    weight_bytes: int = 0
    cache_bytes: int = 0

    @property
    def flops(self) -> int:
        """All operations."""
        return self.linear_flops + self.attention_flops

    @property
    def num_bytes(self) -> int:
        """All bytes that must be read."""
        return self.weight_bytes + self.cache_bytes

    def __add__(self, other: Work) -> Work:
        return Work(
            linear_flops=self.linear_flops + other.linear_flops,
            attention_flops=self.attention_flops + other.attention_flops,
            weight_bytes=self.weight_bytes + other.weight_bytes,
            cache_bytes=self.cache_bytes + other.cache_bytes,
        )

    def __mul__(self, times: int) -> Work:
        return Work(
            linear_flops=self.linear_flops * times,
            attention_flops=self.attention_flops * times,
            weight_bytes=self.weight_bytes * times,
            cache_bytes=self.cache_bytes * times,
        )

    def least_s(self, *, flops_per_s: float, bytes_per_s: float) -> float:
        """Seconds at the hardware's limit, where reading and computing overlap."""
        return max(self.flops / flops_per_s, self.num_bytes / bytes_per_s)


@dataclass(frozen=True, kw_only=True)
class ChunkShape:
    """What decides the work of a chunk.

    Attributes:
        tokens: Tokens of the chunk.
        frames: Latent frames of the chunk.
        keys: Tokens that self-attention sees, the chunk's own included.
        context_tokens: Tokens that cross-attention sees.
        action_frames: Latent frames of actions within reach, of those that are there already.
        element_bytes: Bytes of a weight, a key's or a value's number.
    """

    tokens: int
    frames: int
    keys: int
    context_tokens: int = 0
    action_frames: int = 0
    element_bytes: int = 4


def pass_work(net: WanConfig, shape: ChunkShape) -> Work:
    """One pass of the network over a chunk, with all that is ready before handed in."""
    linear = shape.tokens * linear_flops_per_token(net)
    attention = 4 * shape.tokens * net.dim * (shape.keys + _context(net, shape)) * net.num_layers
    if net.actions is not None:
        attention += len(net.actions.layers) * _action_attention(net, shape)
    weights = net.num_parameters - _chunk_parameters(net) - _rollout_parameters(net)
    kept = shape.keys + _context(net, shape)
    return Work(
        linear_flops=linear,
        attention_flops=attention,
        weight_bytes=weights * shape.element_bytes,
        cache_bytes=2 * kept * net.dim * net.num_layers * shape.element_bytes,
    )


def linear_flops_per_token(net: WanConfig) -> int:
    """Operations of a pass's linear layers for every token; those of time are a few rows in all."""
    d = net.dim
    block = 8 * d * d + 4 * d * net.ffn_dim
    if net.has_context:
        block += 4 * d * d
    latents = PATCH_CELLS * net.out_channels
    total = net.num_layers * block + 2 * latents * d + 2 * d * latents
    if net.actions is not None:
        hidden = net.actions.hidden
        steered = 4 * d * hidden
        if net.actions.mouse:
            steered += 2 * d * hidden + 2 * hidden * hidden + 6 * hidden * hidden + 2 * hidden * d
        total += len(net.actions.layers) * steered
    return total


def preparation_work(net: WanConfig, shape: ChunkShape) -> Work:
    """What is made ready once a chunk: the condition's share of the patch embedding, the camera's modulation.

    What the actions' own few rows take is left out.
    """
    d, condition = net.dim, PATCH_CELLS * (net.in_channels - net.out_channels)
    linear = 2 * condition * d
    if net.camera_features:
        linear += 2 * net.camera_features * d + 4 * d * d + net.num_layers * 8 * d * d
    return Work(linear_flops=shape.tokens * linear, weight_bytes=_chunk_parameters(net) * shape.element_bytes)


def chunk_work(net: WanConfig, shape: ChunkShape, *, passes: int) -> Work:
    """A whole chunk: what is made ready, the denoising passes and the clean one."""
    return preparation_work(net, shape) + pass_work(net, shape) * (passes + 1)


def _context(net: WanConfig, shape: ChunkShape) -> int:
    return shape.context_tokens if net.has_context else 0


def _chunk_parameters(net: WanConfig) -> int:
    """Weights that are read once a chunk: of the condition and the camera."""
    d, square = net.dim, net.dim * (net.dim + 1)
    condition = PATCH_CELLS * (net.in_channels - net.out_channels) * d
    if not net.camera_features:
        return condition
    return condition + net.camera_features * d + d + 2 * square + net.num_layers * 4 * square


def _rollout_parameters(net: WanConfig) -> int:
    """Weights that are read once a rollout: of the context's keys and values and of time; rows of actions."""
    d, square = net.dim, net.dim * (net.dim + 1)
    context = net.num_layers * (2 * square + d) if net.has_context else 0
    if net.text_dim:
        context += net.text_dim * d + d + square
    if net.image_dim:
        image = net.image_dim
        context += 2 * image + image * image + image + image * d + d + 2 * d
    return context + net.freq_dim * d + d + square + 6 * square + _action_row_parameters(net)


def _action_row_parameters(net: WanConfig) -> int:
    """Weights of the action modules that see rows of actions, not tokens."""
    if net.actions is None:
        return 0
    actions, embedding = net.actions, net.actions.keyboard_embedding
    rows = actions.keyboard_dim * embedding + embedding + embedding * embedding + embedding
    rows += actions.window_frames * embedding * 2 * actions.hidden
    if actions.mouse:
        rows += (2 * actions.window_frames + 1) * actions.hidden
    return len(actions.layers) * rows


def _action_attention(net: WanConfig, shape: ChunkShape) -> int:
    """Each token attends to the actions of the frames within reach, and over time for the mouse."""
    if net.actions is None:
        return 0
    once = 4 * shape.tokens * net.actions.hidden * shape.action_frames
    return 2 * once if net.actions.mouse else once
