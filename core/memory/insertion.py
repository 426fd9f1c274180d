"""Puts what a chunk retrieves into the window, layer by layer.

As soon as the chunk before has attended to a layer for the last time, the layer's retrieved region is free:
on a GPU it is then filled on a side stream, while the main one goes on with later layers, decodes, and begins
the next chunk. A pass waits for a layer only if it gets there first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from core.errors import InputError
from core.memory.bank_bytes import BLOCK_TOKENS
from core.memory.positions import frame_shifts
from core.memory.prune import kept_by_key
from core.memory.step import ChunkStep
from core.models.wan.rope import Rotation

if TYPE_CHECKING:
    from core.memory.world_memory import WorldMemory


class Insertion:
    """What one chunk retrieves, on its way from the bank into the window.

    Args:
        memory: Window, bank and how positions are given.
        step: The chunk's integers.
    """

    def __init__(self, memory: WorldMemory, step: ChunkStep) -> None:
        self._bank = memory.bank
        tiers = memory.plan.residency.steps[step.chunk]
        self._count = step.num_read
        self._reads = self._bank.routes(tiers.reads, self._count)
        self._moves = self._bank.routes(tiers.moves, self._count)
        self._way = (_OnUse if memory.plan.pruning.keys_on_use else _AsStored)(memory, step)

    def layer(self, layer: int) -> None:
        """Read a layer's tokens, write them into the window, and move what has to lie elsewhere."""
        rows = self._bank.read(layer, self._reads, self._count)
        for start in range(0, self._count, self._way.block_tokens):
            block = slice(start, min(start + self._way.block_tokens, self._count))
            self._way.put(layer, rows[:, block], block)
        self._bank.move(layer, self._moves, rows)


class _AsStored:
    """Every token that is read has a slot of its own."""

    block_tokens = BLOCK_TOKENS

    def __init__(self, memory: WorldMemory, step: ChunkStep) -> None:
        self._memory, plan = memory, memory.plan
        inserted = step.insert_slots
        sources = step.retrieved_sources[inserted]
        shifts = _shifts(memory, step)[inserted]
        self._target = torch.from_numpy(inserted).to(memory.device) + memory.native_tokens
        self._shift = torch.from_numpy(shifts).to(memory.device)
        self._places = memory.bank.places(sources // plan.layout.tokens_per_chunk)
        self._rotation: Rotation | None = None
        if not plan.pruning.keys_on_store:  # then a source is a place in time and space
            self._rotation = self._turned(torch.from_numpy(sources).to(memory.device)[None], self._shift)

    def put(self, layer: int, rows: Int64[Tensor, "batch tokens words"], block: slice) -> None:
        places = None if self._places is None else self._places[block]
        tokens = self._memory.bank.unpack(layer, rows, places)
        if self._rotation is not None:
            rotation = self._rotation.part(block)
        else:
            rotation = self._turned(_known(tokens.ids), self._shift[block])
        self._memory.window.write(layer, self._target[block], rotation.apply(tokens.keys), tokens.values)

    def _turned(self, ids: Int64[Tensor, "batch tokens"], shift: Int64[Tensor, " tokens"]) -> Rotation:
        footprint, rotary = self._memory.plan.footprint, self._memory.rotary
        tokens, cols = footprint.tokens_per_frame, footprint.grid[1]
        cell = ids % tokens
        frame = torch.div(ids, tokens, rounding_mode="floor") + shift
        angles = rotary.angles(frame.flatten(), (cell // cols).flatten(), (cell % cols).flatten())
        return Rotation.from_angles(angles.view(*ids.shape, -1))


class _OnUse:
    """Whole chunks are read, one a block, and each is pruned by its keys as they stand in the window."""

    def __init__(self, memory: WorldMemory, step: ChunkStep) -> None:
        self._memory, plan = memory, memory.plan
        layout, footprint = plan.layout, plan.footprint
        self.block_tokens = layout.tokens_per_chunk
        self._keep = plan.pruning.kept_per_frame(layout.tokens_per_frame)
        self._kept = plan.pruning.kept_per_chunk(layout.tokens_per_frame, layout.chunk_frames)
        inserted = step.insert_slots
        chunks = (step.retrieved_sources[inserted] // layout.tokens_per_chunk)[:: self._kept]
        shifts = _shifts(memory, step)[inserted][:: self._kept]
        self._target = torch.from_numpy(inserted).to(memory.device) + memory.native_tokens
        self._places = memory.bank.places(np.repeat(chunks, layout.tokens_per_chunk))
        rank = {selection.chunk: i for i, selection in enumerate(step.selections)}
        frames = layout.chunk_frames
        self._anchors = [rank[c] % frames if plan.pruning.rotate_anchor else 0 for c in chunks.tolist()]
        self._rotations = [
            memory.rotary.grid_rotation(range(start, start + frames), footprint.grid)
            for start in (chunks * frames + shifts).tolist()
        ]

    def put(self, layer: int, rows: Int64[Tensor, "batch tokens words"], block: slice) -> None:
        memory, number = self._memory, block.start // self.block_tokens
        places = None if self._places is None else self._places[block]
        tokens = memory.bank.unpack(layer, rows, places)
        keys = self._rotations[number].apply(tokens.keys)
        frames = keys.unflatten(1, (memory.plan.layout.chunk_frames, -1))
        chosen = kept_by_key(frames, keep=self._keep, pooled=False, anchor=self._anchors[number])
        picks = chosen[:, :, None, None].expand(-1, -1, *keys.shape[2:])
        target = self._target[number * self._kept : (number + 1) * self._kept]
        memory.window.write(layer, target, keys.gather(1, picks), tokens.values.gather(1, picks))


def _shifts(memory: WorldMemory, step: ChunkStep) -> Int64[np.ndarray, " retrieved"]:
    layout, trained = memory.plan.layout, memory.trained_frames
    return frame_shifts(memory.positions, step, layout, trained_frames=trained)


def _known(ids: Int64[Tensor, "batch tokens"] | None) -> Int64[Tensor, "batch tokens"]:
    if ids is None:
        raise InputError("the bank does not know where its tokens came from", where="bank")
    return ids


class SideStream:
    """Fills layers ahead of use: on a GPU beside the main stream, elsewhere at once.

    Args:
        device: Where the window lies.
        num_layers: Layers of the network.
    """

    def __init__(self, device: torch.device, num_layers: int) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._ready: list[torch.cuda.Event | None] = [None] * num_layers
        self._waits: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def fill(self, insertion: Insertion, layer: int) -> None:
        """Put a layer's tokens into the window once the main stream has got to here."""
        if self._stream is None:
            insertion.layer(layer)
            return
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            insertion.layer(layer)
            event = torch.cuda.Event()
            event.record(self._stream)
        self._ready[layer] = event

    def wait(self, layer: int) -> None:
        """Let the main stream wait until a layer is filled; notes how long that takes it."""
        event, self._ready[layer] = self._ready[layer], None
        if event is None:
            return
        main = torch.cuda.current_stream(self._device)
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record(main)
        main.wait_event(event)
        after.record(main)
        self._waits.append((before, after))

    def finish(self) -> None:
        """Wait until everything that was begun is done, also what was copied to host memory."""
        if self._stream is not None:
            torch.cuda.synchronize(self._device)

    def forget(self) -> None:
        """Wait for what was begun, and do not have any layer wait for it."""
        self.finish()
        self._ready = [None] * len(self._ready)

    @property
    def last_event(self) -> torch.cuda.Event | None:
        """When all that was begun so far, on either stream, will be done; None where it is done already."""
        if self._stream is None:
            return None
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        event = torch.cuda.Event()
        event.record(self._stream)
        return event

    def waited_ms(self) -> float:
        """Milliseconds that the main stream waited since the last call; call it when the device is idle."""
        waits, self._waits = self._waits, []
        return sum((before.elapsed_time(after) for before, after in waits), 0.0)
