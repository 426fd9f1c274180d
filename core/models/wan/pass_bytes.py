"""What a pass of the network takes beside weights, window and bank."""

from __future__ import annotations

from core.elements import WIDE_BYTES, Element
from core.models.wan.config import WanConfig

ROTATIONS = 2
"""Of the chunk's queries and keys: that of the denoising passes is still there in the clean pass."""


def pass_bytes(config: WanConfig, tokens: int, dtype: Element, *, camera_ready: bool) -> int:
    """Bytes of the tensors alive at the peak of a pass.

    The peak lies at one of three places of a block, or before the first one, where the weights that embed a
    new timestep are copied to float32. What kernels take for themselves comes on top; fused attention takes
    little. Action modules are not counted.

    Args:
        config: The network.
        tokens: Of a chunk.
        dtype: Of weights and cache.
        camera_ready: Whether the camera's part is handed in; otherwise a block computes its own.
    """
    dim, narrow = config.dim, dtype.itemsize
    per_token = max(_turning(config, narrow), _asking_context(config, narrow), _feeding(config, narrow))
    if config.camera_injection != "none" and not camera_ready:
        per_token += 2 * dim * narrow  # gain and shift of the layer
    rotations = tokens * ROTATIONS * config.head_dim * WIDE_BYTES
    timestep = 6 * dim * dim * (WIDE_BYTES if narrow < WIDE_BYTES else 0)
    vectors = 32 * dim * WIDE_BYTES  # what timesteps make of shifts, scales and gates
    return max(tokens * per_token, timestep) + rotations + vectors


def _turning(config: WanConfig, narrow: int) -> int:
    """Bytes a token while self-attention turns the queries, and then attends.

    The residual stream, the normalised tokens, queries, keys, values and turned keys; beside them the turned
    queries in the making (copied to float32, turned, and cast back), then whole, with the attention's result.
    """
    stream = (2 if config.camera_injection == "before_attention" else 1) * WIDE_BYTES
    turned = 2 * WIDE_BYTES + narrow if narrow < WIDE_BYTES else WIDE_BYTES
    return config.dim * (stream + 5 * narrow + max(turned, 2 * narrow))


def _asking_context(config: WanConfig, narrow: int) -> int:
    """Bytes a token while the queries to the context are normalised.

    The residual stream before and after self-attention, what went into that and what came out, the
    normalised tokens, and the queries: as they were, in float32, divided by their length, times the gain.
    """
    if not config.has_context:
        return 0
    normalised = 2 * WIDE_BYTES + narrow if narrow < WIDE_BYTES else 2 * WIDE_BYTES
    lengths = 4 * WIDE_BYTES
    return config.dim * (2 * WIDE_BYTES + 4 * narrow + normalised) + lengths


def _feeding(config: WanConfig, narrow: int) -> int:
    """Bytes a token inside the feed-forward layer.

    The residual stream before and after attention, inputs and outputs that a block holds to its end, the
    normalised tokens, and the hidden layer before and after its activation.
    """
    held = 5 if config.has_context else 3
    return config.dim * (2 * WIDE_BYTES + held * narrow) + 2 * config.ffn_dim * narrow
