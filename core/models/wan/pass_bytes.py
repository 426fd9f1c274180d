"""What one pass of the network takes beside weights, window and what is kept for the chunk."""

from __future__ import annotations

import torch

from core.models.wan.config import WanConfig

WIDE_BYTES = 4


def pass_bytes(config: WanConfig, tokens: int, dtype: torch.dtype, *, camera_ready: bool) -> int:
    """Bytes of the tensors alive at the peak of a pass.

    It is the larger of what a block holds while it normalises and turns keys (residual stream, queries, keys,
    values, and float32 copies of one of them, turned), and in its feed-forward layer (residual stream, its
    normalised copies, the hidden layer before and after the activation). What attention kernels take for
    themselves comes on top; fused ones take little.

    Args:
        config: The network.
        tokens: Of a chunk.
        dtype: Of weights and cache.
        camera_ready: Whether the camera's part is handed in; otherwise a block computes its own.
    """
    narrow = dtype.itemsize
    stream = tokens * config.dim
    copied = 2 * WIDE_BYTES + (narrow if narrow < WIDE_BYTES else 0)  # a float32 copy, turned, and cast back
    attend = stream * (WIDE_BYTES + 4 * narrow + copied)
    feed = stream * (2 * WIDE_BYTES + narrow) + 2 * tokens * config.ffn_dim * narrow
    camera = 0 if camera_ready else 5 * stream * narrow
    return max(attend, feed) + camera
