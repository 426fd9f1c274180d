"""The slow path: all raw keys and values kept in lists, the window concatenated anew in every layer.

Written from the definitions (design.md, section 4) and not from the plan's slots; only what is retrieved is
taken from the schedule. Positions, rotation, pruning and attention are worked out here again, in float64.
"""

from dataclasses import dataclass

import numpy as np
import torch

from core.memory.plan import MemoryPlan
from core.memory.positions import PositionMode
from core.memory.prune_policy import kept_tokens
from core.memory.step import ChunkStep
from core.memory.viewpoints import Viewpoints
from core.sampler import denoise
from tests.core.memory.tiny import LEVELS, TinyControls, noise_of


@dataclass
class Part:
    """Tokens of the window: [batch, tokens, heads, head_dim], and the position of each in every rollout."""

    keys: torch.Tensor
    values: torch.Tensor
    frames: torch.Tensor
    cells: torch.Tensor


def rotate(x: torch.Tensor, frames: torch.Tensor, cells: torch.Tensor, cols: int) -> torch.Tensor:
    """RoPE as a product of complex numbers; frames and cells are [batch, tokens]."""
    pairs, side = x.shape[-1] // 2, x.shape[-1] // 6
    axes = ((frames, pairs - 2 * side), (cells // cols, side), (cells % cols, side))
    angles = [p[..., None] * 10000.0 ** (-torch.arange(m, dtype=torch.float64) / m) for p, m in axes]
    turn = torch.polar(torch.ones(()).double(), torch.cat(angles, -1))[:, :, None]
    pairs_of_x = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs_of_x * turn).flatten(-2)


class SlowMemory:
    """Full recompute of what `WorldMemory` does; see `SelfAttentionCache` for `attend`.

    Args:
        shuffle: Puts the keys into another order at every attention.
    """

    def __init__(
        self,
        plan: MemoryPlan,
        views: Viewpoints,
        *,
        positions: PositionMode = PositionMode.ABSOLUTE,
        trained_frames: int = 9,
        shuffle: torch.Generator | None = None,
    ) -> None:
        self.plan, self.views, self.positions, self.trained_frames = plan, views, positions, trained_frames
        self.shuffle = shuffle
        self.past: list[list[tuple[torch.Tensor, torch.Tensor]]] = []  # [chunk][layer]
        self.step: ChunkStep | None = None
        self.seen: list[int] = []  # keys attended to, chunk by chunk

    def start(self, step: ChunkStep, *, commits: bool) -> "SlowMemory":
        self.step = step
        if commits:
            self.past.append([])
        return self

    def attend(self, layer, q, k, v):
        chunk, tokens = self.step.chunk, self.views.tokens_per_frame
        if len(self.past) > chunk:
            self.past[chunk].append((k, v))
        own = torch.arange(chunk * 3 * tokens, (chunk + 1) * 3 * tokens)
        parts = [self._native(layer, own[0]), *self._retrieved(layer), self._part(k, v, own)]
        parts = [p for p in parts if p is not None]
        batch, cols = len(q), self.views.grid[1]
        keys = torch.cat(
            [rotate(p.keys, p.frames.expand(batch, -1), p.cells.expand(batch, -1), cols) for p in parts], 1
        )
        values = torch.cat([p.values.double() for p in parts], 1)
        if self.shuffle is not None:
            order = torch.randperm(keys.shape[1], generator=self.shuffle)
            keys, values = keys[:, order], values[:, order]
        if layer == 0:
            self.seen[chunk:] = [keys.shape[1]]
        at = parts[-1]
        query = rotate(q, at.frames.expand(batch, -1), at.cells.expand(batch, -1), cols)
        scores = torch.einsum("bshk,bthk->bhst", query, keys) / q.shape[-1] ** 0.5
        return torch.einsum("bhst,bthk->bshk", scores.softmax(-1), values).to(q.dtype)

    def _part(self, keys, values, ids, shift=0) -> Part:
        """Tokens with the given ids (frame * tokens_per_frame + cell), moved in time."""
        ids = torch.as_tensor(ids)
        ids = ids if ids.ndim == 2 else ids[None]
        tokens = self.views.tokens_per_frame
        return Part(keys, values, ids // tokens + shift, ids % tokens)

    def _native(self, layer: int, first_own: int) -> Part | None:
        """Sink and recent frames, by definition of the memory modes."""
        layout, chunk, tokens = self.plan.layout, self.step.chunk, self.views.tokens_per_frame
        end = 3 * chunk
        reach = end if layout.mode == "full" else layout.recent_frames
        # The release sees one chunk more until there is a first candidate, a chunk before all that.
        if layout.release_gap and max(0, end - reach) // 3 - 1 <= -(-layout.sink_frames // 3):
            reach += 3
        frames = [f for f in range(end) if f < layout.sink_frames or f >= end - reach]
        if not frames:
            return None
        ids = torch.cat([torch.arange(f * tokens, (f + 1) * tokens) for f in frames])
        keys, values = (
            torch.cat([chunk[layer][i] for chunk in self.past[:chunk]], 1)[:, ids] for i in (0, 1)
        )
        shift = torch.where(ids < layout.sink_frames * tokens, self._sink_shift(), 0)
        return self._part(keys, values, ids, shift)

    def _sink_shift(self) -> int:
        """Where positions are kept within the trained range, the sink's are, but no nearer than it needs."""
        layout, seen = self.plan.layout, 3 * self.step.chunk + 3
        if self.positions not in (PositionMode.CONTIGUOUS, PositionMode.SLOT):
            return 0
        return max(0, seen - max(self.trained_frames, layout.sink_frames))

    def _retrieved(self, layer: int) -> list[Part]:
        parts = []
        for place, selection in enumerate(self.step.selections):
            keys, values = self.past[selection.chunk][layer]
            pruning, kept = self.plan.pruning, selection.tokens
            shift = self._new_start(place) - 3 * selection.chunk
            if kept is None and pruning.needs_keys:
                on_use = pruning.when == "use"
                anchor = place % 3 if pruning.rotate_anchor else 0
                kept = self._kept_by_key(keys, selection.chunk, shift=shift if on_use else 0, anchor=anchor)
            elif kept is None:
                kept = kept_tokens(pruning, self.views, selection.chunk)
            kept = torch.as_tensor(kept).expand(len(keys), -1)
            picks = kept[..., None, None].expand(-1, -1, *keys.shape[2:])
            ids = kept + selection.chunk * self.views.tokens_per_chunk
            parts.append(self._part(keys.gather(1, picks), values.gather(1, picks), ids, shift))
        return parts

    def _new_start(self, place: int) -> int:
        """Latent frame at which the selection at this place of the list pretends to start."""
        chunks = [s.chunk for s in self.step.selections]
        if self.positions is PositionMode.ABSOLUTE:
            return 3 * chunks[place]
        count = len(chunks)
        rank = place if self.positions is PositionMode.LISTED else sorted(chunks).index(chunks[place])
        recent_start = 3 * self.step.chunk - self.plan.layout.recent_frames
        if self.positions is PositionMode.SLOT:
            free = self.trained_frames - self.plan.layout.sink_frames - self.plan.layout.recent_frames - 3
            places = max(1, min(count, free // 3))
            start = recent_start - 3 * (places - rank * places // count)
            return max(start, 3 * self.step.chunk + 3 - max(3, self.trained_frames))
        return recent_start - 3 * (count - rank)

    def _kept_by_key(self, keys: torch.Tensor, chunk: int, *, shift: int, anchor: int) -> np.ndarray:
        """The paper's rule, rollout by rollout: least like the mean key of the anchor frame."""
        tokens, pruning = self.views.tokens_per_frame, self.plan.pruning
        ids = torch.arange(3 * tokens) + 3 * chunk * tokens
        at = [t.expand(len(keys), -1) for t in (ids // tokens + shift, ids % tokens)]
        turned = rotate(keys, *at, self.views.grid[1]).flatten(2).numpy()
        keep = int(np.ceil(pruning.keep_ratio * tokens))
        kept = []
        for one in turned:
            centre = one[anchor * tokens : (anchor + 1) * tokens].mean(0)
            likeness = one @ centre / np.linalg.norm(one, axis=1) / np.linalg.norm(centre)
            order = [int(i) for i in np.argsort(likeness, kind="stable") if i // tokens != anchor]
            if pruning.pooled:
                chosen = order[: 2 * keep]
            else:
                chosen = [i for f in range(3) for i in [i for i in order if i // tokens == f][:keep]]
            kept.append(sorted([*range(anchor * tokens, (anchor + 1) * tokens), *chosen]))
        return np.array(kept)


@torch.inference_mode()
def slow_run(
    views: Viewpoints, memory: SlowMemory, *, batch: int = 1, commit: str = "clean"
) -> list[torch.Tensor]:
    """Clean latents of every chunk, through the slow path."""
    controls, noise = TinyControls(views), noise_of(batch)
    out = []
    for step in memory.plan.steps:
        model, chunk = controls.chunk(step.chunk), step.chunk

        def flow(x, i, model=model, step=step):
            commits = commit == "last" and i == len(LEVELS.timesteps) - 1
            return model.flow(x, LEVELS.timesteps[i], memory.start(step, commits=commits))

        latents = denoise(
            flow,
            noise(chunk, 0),
            LEVELS,
            lambda i, chunk=chunk: noise(chunk, i + 1),
        )
        if commit == "clean":
            model.flow(latents, 0.0, memory.start(step, commits=True))
        out.append(latents)
    return out
