"""The world memory of a running rollout: window and bank, moved by the plan's integers.

For each chunk: `begin` puts back what is retrieved; every pass of the network attends through the returned
cache; the cache of the clean pass also stores what a later chunk will ask for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int32
from torch import Tensor

from core.errors import InputError
from core.memory.bank import Bank
from core.memory.insertion import Insertion, SideStream
from core.memory.plan import MemoryPlan
from core.memory.positions import PositionMode, sink_follows, sink_start
from core.memory.prune import KeptTally, kept_by_key
from core.memory.sink import FollowingSink
from core.memory.step import ChunkStep
from core.memory.tiers import Tier
from core.memory.window import Window
from core.models.wan.layers import attention
from core.models.wan.rope import RotaryTable, Rotation

_NONE = -1


class WorldMemory:
    """Executes a plan.

    Args:
        plan: What happens at every chunk, and where the bank lies.
        positions: Time positions of retrieved keys.
        trained_frames: Frames back that the model saw in training, for `slot` positions.
        batch: Rollouts that run side by side with one plan.
        device: Where the window lies.
        dtype: Of keys and values.
        folder: Where the bank's file is made if a part of it lies on disk.
        ahead: Whether a layer's retrieved tokens are put into the window as soon as the chunk before needs it
            no more; None for where that is faster, on a GPU.

    Raises:
        InputError: The positions change from chunk to chunk, but the plan writes a retrieved token only once.
        OutputError: The disk has not enough room for the bank.
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
        folder: Path | None = None,
        ahead: bool | None = None,
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
        self.bank = Bank(plan, batch=batch, device=device, dtype=dtype, folder=folder)
        self.rotary = RotaryTable(plan.footprint.head_dim, device=device)
        self.sink: FollowingSink | None = None
        if sink_follows(positions, plan.layout, trained_frames=trained_frames):
            frames = plan.layout.sink_frames
            self.sink = FollowingSink(plan.footprint, frames, batch=batch, device=device, dtype=dtype)
        self._turned: tuple[int, Rotation] | None = None
        self.tally: KeptTally | None = None
        if plan.pruning.keys_on_store:
            self.tally = KeptTally(plan.footprint.tokens_per_chunk, device)
        self.native_tokens = plan.layout.native_frames * plan.footprint.tokens_per_frame
        self.side = SideStream(device, plan.footprint.num_layers)
        wanted = device.type == "cuda" if ahead is None else ahead
        # What is carried lies where the next chunk's tokens would go.
        self._ahead = wanted and not any(step.carried_frames for step in plan.steps)
        self._inserted = self._fetched = _NONE  # chunks whose tokens are in the window, or being read
        # What the side stream works with must live until the main one has waited for it: two chunks later.
        self._kept: tuple[Insertion | None, Insertion | None] = (None, None)

    @property
    def nbytes(self) -> int:
        """Bytes of window, bank and a sink that follows, on the device and in host memory."""
        return self.device_bytes + self.bank.host_bytes

    @property
    def device_bytes(self) -> int:
        """Those on the device."""
        sink = self.sink.nbytes if self.sink is not None else 0
        tally = self.tally.nbytes if self.tally is not None else 0
        return self.window.nbytes + self.bank.device_bytes + sink + tally

    @property
    def tier_bytes(self) -> Mapping[Tier, int]:
        """Bytes of the bank's pools."""
        return self.bank.tier_bytes

    def begin(self, step: ChunkStep) -> ChunkCache:
        """Bring the window into the state that the chunk needs; returns the cache of its denoising passes."""
        if self.sink is not None:
            start = sink_start(self.positions, step, self.plan.layout, trained_frames=self.trained_frames)
            self.sink.move(self.window, self.rotary, start)
        if len(step.carry_slots):
            behind = self.native_tokens + step.num_retrieved
            source = torch.from_numpy(step.carry_slots).to(self.device)
            self.window.move(source, slice(behind, behind + len(step.carry_slots)))
        if step.num_read and self._inserted != step.chunk:
            insertion = self._insertion(step)
            for layer in range(self.plan.footprint.num_layers):
                insertion.layer(layer)
            self._inserted = step.chunk
        self._fetch(step.chunk + 1)
        return ChunkCache(self, step, commits=False)

    def commit_cache(self, step: ChunkStep) -> ChunkCache:
        """Cache of the clean pass: it also stores what later chunks will ask for."""
        coming = None
        after = step.chunk + 1
        if self._ahead and after < len(self.plan.use.steps) and self.plan.use.steps[after].num_read:
            coming = self._insertion(self.plan.use.steps[after])
            self._inserted = after
        self._kept = (self._kept[1], coming)
        if self.tally is not None:
            self.tally.clear()
        return ChunkCache(self, step, commits=True, coming=coming)

    def own_rotation(self, step: ChunkStep) -> Rotation:
        """Turns the chunk's own queries and keys; computed once for all its passes."""
        if self._turned is None or self._turned[0] != step.chunk:
            frames = range(step.frames, step.frames + self.plan.layout.chunk_frames)
            self._turned = step.chunk, self.rotary.grid_rotation(frames, self.plan.footprint.grid)
        return self._turned[1]

    def kept_counts(self, step: ChunkStep) -> Int32[np.ndarray, " tokens"]:
        """In how many layers each token of a finished chunk is stored, summed over the batch.

        Where keys decide it waits for the device: call it when the chunk is decoded, before the next begins.
        """
        if self.tally is not None and step.store_tokens is None:
            return self.tally.counts()
        counts = np.zeros(self.plan.footprint.tokens_per_chunk, dtype=np.int32)
        counts[step.store_tokens] = self.plan.footprint.num_layers * len(self.window.keys[0])
        return counts

    def waited_ms(self) -> float:
        """Milliseconds that passes waited for the bank since the last call; call it when the device is idle.

        On the CPU all that is not read ahead is copied in `begin`, which is work and no waiting.
        """
        waited, self.bank.waited_s = self.side.waited_ms() + self.bank.waited_s * 1e3, 0.0
        disk = self.bank.disk
        if disk is not None:
            waited, disk.waited_s = waited + disk.waited_s * 1e3, 0.0
        return waited

    def state(self) -> dict[str, Tensor]:
        """Everything a snapshot needs between two chunks; the integers are the plan's."""
        self.side.finish()
        found = {f"{name}.{key}": t for name, part in self._parts.items() for key, t in part.state().items()}
        return {**found, "inserted": torch.tensor(self._inserted)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over a snapshot of a rollout with the same plan."""
        self.side.forget()
        for name, part in self._parts.items():
            prefix = f"{name}."
            part.restore({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        self._inserted, self._fetched = int(state["inserted"]), _NONE

    def close(self) -> None:
        """Let go of what lies on disk."""
        self.bank.close()

    @property
    def _parts(self) -> dict[str, Window | Bank | FollowingSink]:
        following = {"sink": self.sink} if self.sink is not None else {}
        return {"window": self.window, "bank": self.bank, **following}

    def _insertion(self, step: ChunkStep) -> Insertion:
        if self._fetched != step.chunk:
            self._fetch(step.chunk)
        return Insertion(self, step)

    def _fetch(self, chunk: int) -> None:
        """Begin to read from disk what a chunk retrieves."""
        steps = self.plan.residency.steps
        if self.bank.disk is not None and chunk < len(steps):
            self.bank.read_ahead(steps[chunk].reads, self.side.last_event)
            self._fetched = chunk


class ChunkCache:
    """What the self-attention of every layer sees during one chunk; see `wan.block.SelfAttentionCache`.

    Args:
        memory: Window and bank.
        step: The chunk's integers.
        commits: Whether the pass's keys and values are the ones to remember.
        coming: What the next chunk retrieves, to be put into each layer that this one needs no more.
    """

    def __init__(
        self, memory: WorldMemory, step: ChunkStep, *, commits: bool, coming: Insertion | None = None
    ) -> None:
        self.memory, self.step, self.commits, self._coming = memory, step, commits, coming
        plan, tokens = memory.plan, memory.plan.footprint.tokens_per_frame
        self._copies = _runs(step.frame_slots, tokens)
        self.filled = plan.visible_tokens(step)
        self._first_id = step.frames * tokens
        self._rotation = memory.own_rotation(step)
        if not commits:
            return
        residency = plan.residency
        self._stores = memory.bank.routes(residency.steps[step.chunk].stores, step.num_stored)
        self._place = int(residency.chunk_slot[step.chunk])
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
        self.memory.side.wait(layer)  # what follows may use slots of the bank that are read until then
        if self.commits:
            if self.memory.sink is not None:
                self.memory.sink.keep(layer, self.step.frames, k)
            if self._stores:
                self._store(layer, k, turned, v)
        keys, values = window.read(layer, self.filled)
        seen = attention(self._rotation.apply(q).to(keys.dtype), keys, values).to(q.dtype)
        if self._coming is not None:
            self.memory.side.fill(self._coming, layer)
        return seen

    def _store(self, layer: int, k: Tensor, turned: Tensor, v: Tensor) -> None:
        plan, bank = self.memory.plan, self.memory.bank
        if self.step.store_tokens is not None:
            keys, values = k[:, self._store_tokens], v[:, self._store_tokens]
            bank.store(layer, self._stores, keys, values, place=self._place)
            return
        frames = turned.view(len(turned), plan.layout.chunk_frames, -1, *turned.shape[2:])
        keep = plan.pruning.kept_per_frame(plan.footprint.tokens_per_frame, self.step.chunk)
        chosen = kept_by_key(frames, keep=keep, pooled=plan.pruning.pooled)
        picks = chosen[:, :, None, None].expand(-1, -1, *k.shape[2:])
        keys, values, ids = k.gather(1, picks), v.gather(1, picks), chosen + self._first_id
        if self.memory.tally is not None:
            self.memory.tally.add(chosen)
        bank.store(layer, self._stores, keys, values, ids=ids, place=self._place)


def _runs(frame_slots: tuple[int, ...], tokens: int) -> list[tuple[slice, slice]]:
    """Copies from the chunk's tokens to slab slots; neighbouring frames go in one piece."""
    runs: list[tuple[int, int, int]] = []  # first frame of the chunk, its slot, frames
    for frame, slot in enumerate(frame_slots):
        if runs and runs[-1][1] + runs[-1][2] == slot:
            runs[-1] = (runs[-1][0], runs[-1][1], runs[-1][2] + 1)
        else:
            runs.append((frame, slot, 1))
    return [(slice(f * tokens, (f + n) * tokens), slice(s * tokens, (s + n) * tokens)) for f, s, n in runs]
