"""Which tokens of a chunk are kept, decided from cameras or by rule: the part of pruning without keys.

The anchor, a chunk's first latent frame, stays whole. Of every other frame `keep` tokens stay, or as many in
total when the budget is pooled over the chunk.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Int64

from core.errors import InputError
from core.memory.view_prune import farthest_tokens
from core.memory.viewpoints import Viewpoints

PruneRule = Literal["none", "key", "view", "random", "stride"]
PruneTime = Literal["store", "use"]


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """How a chunk is pruned, when it is stored or each time it is put into the window.

    Attributes:
        rule: none; key (least like the anchor, decided at run time by the storage); view (rays that add most
            to what is kept); random and stride as controls.
        keep_ratio: Share of the non-anchor tokens kept. Range: (0, 1].
        pooled: One budget over the non-anchor frames instead of one per frame.
        seed: Seed of `random`.
        translation_weight: Radians that one trajectory unit between camera centres counts for in `view`.
        when: store; or use, by keys and per frame: the bank then holds whole chunks, and saves nothing.
        only: Chunks that are pruned when they are stored; None for all.
        rotate_anchor: On use, the anchor of the i-th retrieved chunk is frame i modulo frames of a chunk.
    """

    rule: PruneRule = "none"
    keep_ratio: float = 1.0
    pooled: bool = False
    seed: int = 0
    translation_weight: float = 1.0
    when: PruneTime = "store"
    only: frozenset[int] | None = None
    rotate_anchor: bool = False

    def __post_init__(self) -> None:
        if self.rule not in get_args(PruneRule):
            raise InputError(
                f"unknown pruning rule {self.rule!r}",
                where="--prune",
                hint=f"one of {', '.join(get_args(PruneRule))}",
            )
        if not 0 < self.keep_ratio <= 1:
            raise InputError(
                f"keep_ratio must lie in (0, 1], got {self.keep_ratio:g}",
                where="--keep-ratio",
                hint="0.25 halves a chunk; 1 turns pruning off",
            )
        if self.when not in get_args(PruneTime):
            raise InputError(
                f"unknown time of pruning {self.when!r}",
                where="pruning.when",
                hint=f"one of {', '.join(get_args(PruneTime))}",
            )
        if self.when == "use" and (self.rule != "key" or self.pooled):
            raise InputError(
                "pruning on use is by keys and per frame",
                where="pruning.when",
                hint="prune when chunks are stored, or take rule key without pooled",
            )
        if self.only is not None and self.when != "store":
            raise InputError("chunks are chosen when they are stored", where="pruning.only")
        if self.rotate_anchor and self.when != "use":
            raise InputError(
                "the anchor rotates over retrieved chunks: that is known on use only",
                where="pruning.rotate_anchor",
                hint="prune on use, or leave rotate_anchor out",
            )

    @property
    def needs_keys(self) -> bool:
        """Whether the kept tokens are known only once the chunk's keys are."""
        return self.rule == "key" and self.keep_ratio < 1

    @property
    def keys_on_store(self) -> bool:
        """Whether keys decide what is stored."""
        return self.needs_keys and self.when == "store"

    @property
    def keys_on_use(self) -> bool:
        """Whether whole chunks are stored and keys decide what of them enters the window."""
        return self.needs_keys and self.when == "use"

    def kept_per_frame(self, tokens_per_frame: int, chunk: int | None = None) -> int:
        """Tokens kept of a non-anchor frame, on average over the chunk if pooled.

        Args:
            tokens_per_frame: Tokens of a latent frame.
            chunk: Which chunk; None for the most that is kept of any.
        """
        spared = self.only is not None and chunk not in self.only
        if self.rule == "none" or spared:
            return tokens_per_frame
        return min(tokens_per_frame, max(1, math.ceil(self.keep_ratio * tokens_per_frame)))

    def kept_per_chunk(self, tokens_per_frame: int, chunk_frames: int, chunk: int | None = None) -> int:
        """Tokens that are left of a pruned chunk; `chunk` as in `kept_per_frame`."""
        return tokens_per_frame + (chunk_frames - 1) * self.kept_per_frame(tokens_per_frame, chunk)


def kept_tokens(pruning: Pruning, viewpoints: Viewpoints, chunk: int) -> Int64[np.ndarray, " kept"] | None:
    """Token indices of a chunk that are stored, sorted, the anchor's included; None if keys must decide."""
    if pruning.keys_on_store:
        return None
    tokens, chunk_frames = viewpoints.tokens_per_frame, viewpoints.chunk_frames
    keep = pruning.kept_per_frame(tokens, chunk)
    if keep >= tokens or chunk_frames == 1 or pruning.when == "use":
        return np.arange(viewpoints.tokens_per_chunk, dtype=np.int64)
    if pruning.rule == "view":
        others = farthest_tokens(
            viewpoints,
            chunk,
            keep=keep,
            pooled=pruning.pooled,
            translation_weight=pruning.translation_weight,
        )
    else:
        rng = np.random.default_rng([pruning.seed, chunk])
        groups, size = (1, chunk_frames - 1) if pruning.pooled else (chunk_frames - 1, 1)
        picks = [
            _pick(pruning.rule, size * tokens, size * keep, rng) + g * size * tokens for g in range(groups)
        ]
        others = np.concatenate(picks) + tokens
    return np.concatenate([np.arange(tokens, dtype=np.int64), np.sort(others)])


def _pick(rule: str, count: int, keep: int, rng: np.random.Generator) -> Int64[np.ndarray, " kept"]:
    if rule == "random":
        return rng.permutation(count)[:keep].astype(np.int64)
    return (2 * np.arange(keep, dtype=np.int64) + 1) * count // (2 * keep)
