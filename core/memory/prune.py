"""Pruning by keys: which tokens of a chunk are kept when only the keys can tell.

The rules that need no keys (view, random, stride) are in `prune_policy`: they are known before the rollout.
Every layer keeps tokens of its own then; `KeptTally` counts them for the log.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

NORM_EPS = 1e-8


def anchor_similarity(
    keys: Float[Tensor, "batch frames tokens heads head_dim"], anchor: int = 0
) -> Float[Tensor, "batch frames tokens"]:
    """Cosine between each token's key and the mean key of the anchor frame, all heads as one vector.

    Source: WorldKV release 046f6d1 (the paper, arXiv:2605.22718, takes the mean of the cosines instead).
    """
    flat = keys.float().flatten(3)
    centroid = flat[:, anchor].mean(1)[:, None, None]
    scale = flat.norm(dim=-1) * centroid.norm(dim=-1) + NORM_EPS
    similarity: Tensor = (flat * centroid).sum(-1) / scale
    return similarity


def kept_by_key(
    keys: Float[Tensor, "batch frames tokens heads head_dim"],
    *,
    keep: int,
    pooled: bool,
    anchor: int = 0,
) -> Int64[Tensor, "batch kept"]:
    """Keep the anchor frame whole and the least anchor-like tokens of the other frames.

    Source: Yi et al. 2026, arXiv:2605.22718, World Compression.

    Args:
        keys: Keys after RoPE at their own latent frames, tokens in (frame, row, column) order. Cosines
            between frames depend on the rotation, so keys before RoPE would choose other tokens.
        keep: Tokens kept of a non-anchor frame, or of all of them on average if pooled.
        pooled: One budget over all non-anchor frames instead of one for each.
        anchor: Frame that stays whole.

    Returns:
        Ascending token indices within the chunk.
    """
    batch, frames, tokens = keys.shape[:3]
    index = torch.arange(frames * tokens, device=keys.device).view(frames, tokens)
    others = [f for f in range(frames) if f != anchor]
    score = anchor_similarity(keys, anchor)[:, others]
    candidates = index[others]
    if pooled:
        score, candidates = score.flatten(1)[:, None], candidates.flatten()[None]
        keep *= len(others)
    least = score.topk(min(keep, score.shape[-1]), dim=-1, largest=False).indices
    chosen = candidates.expand(batch, -1, -1).gather(2, least).flatten(1)
    return torch.cat((index[anchor].expand(batch, -1), chosen), dim=1).sort(1).values


class KeptTally:
    """In how many layers each token of the current chunk is kept; counted on the device without a wait.

    Args:
        tokens: Tokens of a chunk.
        device: Where the keys are.
    """

    def __init__(self, tokens: int, device: torch.device) -> None:
        self._counts = torch.zeros(tokens, dtype=torch.int32, device=device)
        self._ones = torch.ones(1, dtype=torch.int32, device=device)

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return self._counts.nbytes + self._ones.nbytes

    def clear(self) -> None:
        """Begin with another chunk."""
        self._counts.zero_()

    def add(self, chosen: Int64[Tensor, "batch kept"]) -> None:
        """Count what a layer keeps."""
        flat = chosen.flatten()
        self._counts.index_add_(0, flat, self._ones.expand(len(flat)))

    def counts(self) -> Int32[np.ndarray, " tokens"]:
        """The counts; waits for the device."""
        counts: Int32[np.ndarray, " tokens"] = self._counts.to("cpu", copy=True).numpy()
        return counts
