"""The world memory of a running rollout: window and bank, moved by the plan's integers.

For each chunk: `begin` puts back what is retrieved; every pass of the network attends through the returned
cache; the cache of the clean pass also stores what a later chunk will ask for.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from core.errors import InputError
from core.memory.bank import Bank, Tier
from core.memory.plan import ChunkStep, MemoryPlan
from core.memory.positions import PositionMode, frame_shifts, sink_follows, sink_start
from core.memory.prune import kept_by_key
from core.memory.sink import FollowingSink
from core.memory.window import Window
from core.models.wan.layers import attention
from core.models.wan.rope import RotaryTable, Rotation


class WorldMemory:
    """Executes a plan.

    Args:
        plan: What happens at every chunk.
        positions: Time positions of retrieved keys.
        trained_frames: Frames back that the model saw in training, for `slot` positions.
        batch: Rollouts that run side by side with one plan.
        device: Where the window lies.
        dtype: Of keys and values.
        tier: Where the bank lies.

    Raises:
        InputError: The positions change from chunk to chunk, but the plan writes a retrieved token only once.
    """

    def __init__(
        self,
        plan: MemoryPlan,
        *,
        positions: PositionMode = PositionMode.ABSOLUTE,
        trained_frames: int = 24,
        batch: int = 1,
        device: torch.device,
        dtype: torch.dtype,
        tier: Tier = "device",
    ) -> None:
        if positions.moves and not plan.reinsert_all:
            raise InputError(
                f"{positions} positions change from chunk to chunk, the plan writes a retrieved token once",
                where="--positions",
                hint="plan with reinsert_all=True",
            )
        self.plan, self.positions, self.trained_frames = plan, positions, trained_frames
        self.device = device
        self.window = Window(plan.footprint, plan.window_tokens, batch=batch, device=device, dtype=dtype)
        self.bank = Bank(
            plan.footprint,
            plan.pool_tokens,
            batch=batch,
            device=device,
            dtype=dtype,
            tier=tier,
            ids_per_layer=plan.pruning.keys_on_store,
        )
        self.rotary = RotaryTable(plan.footprint.head_dim, device=device)
        self.sink: FollowingSink | None = None
        if sink_follows(positions, plan.layout, trained_frames=trained_frames):
            frames = plan.layout.sink_frames
            self.sink = FollowingSink(plan.footprint, frames, batch=batch, device=device, dtype=dtype)
        self._turned: tuple[int, Rotation] | None = None
        self.native_tokens = plan.layout.native_frames * plan.footprint.tokens_per_frame

    @property
    def nbytes(self) -> int:
        """Bytes of window, bank and a sink that follows."""
        return sum(part.nbytes for part in self._parts.values())

    def begin(self, step: ChunkStep) -> ChunkCache:
        """Bring the window into the state that the chunk needs; returns the cache of its denoising passes."""
        if self.sink is not None:
            start = sink_start(self.positions, step, self.plan.layout, trained_frames=self.trained_frames)
            self.sink.move(self.window, self.rotary, start)
        if len(step.carry_slots):
            behind = self.native_tokens + step.num_retrieved
            source = torch.from_numpy(step.carry_slots).to(self.device)
            self.window.move(source, slice(behind, behind + len(step.carry_slots)))
        if len(step.insert_slots):
            moved = frame_shifts(self.positions, step, self.plan.layout, trained_frames=self.trained_frames)
            insert = self._insert_pruned if self.plan.pruning.keys_on_use else self._insert
            insert(step, moved[step.insert_slots])
        return ChunkCache(self, step, commits=False)

    def commit_cache(self, step: ChunkStep) -> ChunkCache:
        """Cache of the clean pass: it also stores what later chunks will ask for."""
        return ChunkCache(self, step, commits=True)

    def own_rotation(self, step: ChunkStep) -> Rotation:
        """Turns the chunk's own queries and keys; computed once for all its passes."""
        if self._turned is None or self._turned[0] != step.chunk:
            frames = range(step.frames, step.frames + self.plan.layout.chunk_frames)
            self._turned = step.chunk, self.rotary.grid_rotation(frames, self.plan.footprint.grid)
        return self._turned[1]

    def state(self) -> dict[str, Tensor]:
        """Everything a snapshot needs; the integers are the plan's."""
        return {f"{name}.{key}": t for name, part in self._parts.items() for key, t in part.state().items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over a snapshot of a rollout with the same plan."""
        for name, part in self._parts.items():
            prefix = f"{name}."
            part.restore({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})

    @property
    def _parts(self) -> dict[str, Window | Bank | FollowingSink]:
        following = {"sink": self.sink} if self.sink is not None else {}
        return {"window": self.window, "bank": self.bank, **following}

    def _insert(self, step: ChunkStep, moved_frames: Int64[np.ndarray, " inserted"]) -> None:
        pool = torch.from_numpy(step.insert_pool).to(self.bank.keys.device)
        target = torch.from_numpy(step.insert_slots + self.native_tokens).to(self.device)
        shift = torch.from_numpy(moved_frames).to(self.device)
        rotation: Rotation | None = None
        for layer in range(self.plan.footprint.num_layers):
            tokens = self.bank.read(layer, pool)
            if rotation is None or self.plan.pruning.keys_on_store:
                rotation = self._rotation(tokens.ids, shift)
            self.window.write(layer, target, rotation.apply(tokens.keys), tokens.values)

    def _insert_pruned(self, step: ChunkStep, moved_frames: Int64[np.ndarray, " inserted"]) -> None:
        """Whole chunks from the bank, one at a time, each pruned by its keys as they stand in the window."""
        footprint, pruning = self.plan.footprint, self.plan.pruning
        frames, per_chunk = footprint.chunk_frames, footprint.tokens_per_chunk
        keep = pruning.kept_per_frame(footprint.tokens_per_frame)
        kept = pruning.kept_per_chunk(footprint.tokens_per_frame, frames)
        pool = torch.from_numpy(step.insert_pool).to(self.bank.keys.device)
        target = torch.from_numpy(step.insert_slots + self.native_tokens).to(self.device)
        place = {selection.chunk: i for i, selection in enumerate(step.selections)}
        for i, at in enumerate(range(0, len(step.insert_slots), kept)):
            chunk = int(step.retrieved_sources[step.insert_slots[at]]) // per_chunk
            anchor = place[chunk] % frames if pruning.rotate_anchor else 0
            start = chunk * frames + int(moved_frames[at])
            rotation = self.rotary.grid_rotation(range(start, start + frames), footprint.grid)
            for layer in range(footprint.num_layers):
                tokens = self.bank.read(layer, pool[i * per_chunk : (i + 1) * per_chunk])
                keys = rotation.apply(tokens.keys)
                chosen = kept_by_key(keys.unflatten(1, (frames, -1)), keep=keep, pooled=False, anchor=anchor)
                picks = chosen[:, :, None, None].expand(-1, -1, *keys.shape[2:])
                self.window.write(
                    layer, target[at : at + kept], keys.gather(1, picks), tokens.values.gather(1, picks)
                )

    def _rotation(self, ids: Int64[Tensor, "batch tokens"], shift: Int64[Tensor, " tokens"]) -> Rotation:
        tokens, cols = self.plan.footprint.tokens_per_frame, self.plan.footprint.grid[1]
        cell = ids % tokens
        frame = torch.div(ids, tokens, rounding_mode="floor") + shift
        angles = self.rotary.angles(frame.flatten(), (cell // cols).flatten(), (cell % cols).flatten())
        return Rotation.from_angles(angles.view(*ids.shape, -1))


class ChunkCache:
    """What the self-attention of every layer sees during one chunk; see `wan.block.SelfAttentionCache`.

    Args:
        memory: Window and bank.
        step: The chunk's integers.
        commits: Whether the pass's keys and values are the ones to remember.
    """

    def __init__(self, memory: WorldMemory, step: ChunkStep, *, commits: bool) -> None:
        self.memory, self.step, self.commits = memory, step, commits
        plan, tokens = memory.plan, memory.plan.footprint.tokens_per_frame
        self._copies = _runs(step.frame_slots, tokens)
        self.filled = plan.visible_tokens(step)
        self._first_id = step.frames * tokens
        self._rotation = memory.own_rotation(step)
        self._pool = torch.from_numpy(step.store_pool).to(memory.bank.keys.device)
        chosen = step.store_tokens if step.store_tokens is not None else np.empty(0, dtype=np.int64)
        self._store_tokens = torch.from_numpy(chosen).to(memory.device)

    def attend(
        self,
        layer: int,
        q: Float[Tensor, "batch tokens heads head_dim"],
        k: Float[Tensor, "batch tokens heads head_dim"],
        v: Float[Tensor, "batch tokens heads head_dim"],
    ) -> Float[Tensor, "batch tokens heads head_dim"]:
        """Write the chunk's keys and values in place, then attend to the whole window."""
        window = self.memory.window
        turned = self._rotation.apply(k)
        for source, target in self._copies:
            window.write(layer, target, turned[:, source], v[:, source])
        if self.commits:
            if self.memory.sink is not None:
                self.memory.sink.keep(layer, self.step.frames, k)
            if len(self._pool):
                self._store(layer, k, turned, v)
        keys, values = window.read(layer, self.filled)
        return attention(self._rotation.apply(q).to(keys.dtype), keys, values).to(q.dtype)

    def _store(self, layer: int, k: Tensor, turned: Tensor, v: Tensor) -> None:
        plan = self.memory.plan
        if self.step.store_tokens is None:
            frames = turned.view(len(turned), plan.layout.chunk_frames, -1, *turned.shape[2:])
            keep = plan.pruning.kept_per_frame(plan.footprint.tokens_per_frame)
            chosen = kept_by_key(frames, keep=keep, pooled=plan.pruning.pooled)
            picks = chosen[:, :, None, None].expand(-1, -1, *k.shape[2:])
            keys, values, ids = k.gather(1, picks), v.gather(1, picks), chosen + self._first_id
        else:
            keys, values = k[:, self._store_tokens], v[:, self._store_tokens]
            ids = (self._store_tokens + self._first_id)[None]
        self.memory.bank.store(layer, self._pool, keys, values, ids)


def _runs(frame_slots: tuple[int, ...], tokens: int) -> list[tuple[slice, slice]]:
    """Copies from the chunk's tokens to slab slots; neighbouring frames go in one piece."""
    runs: list[tuple[int, int, int]] = []  # first frame of the chunk, its slot, frames
    for frame, slot in enumerate(frame_slots):
        if runs and runs[-1][1] + runs[-1][2] == slot:
            runs[-1] = (runs[-1][0], runs[-1][1], runs[-1][2] + 1)
        else:
            runs.append((frame, slot, 1))
    return [(slice(f * tokens, (f + n) * tokens), slice(s * tokens, (s + n) * tokens)) for f, s, n in runs]
