"""One chunk of a plan: the integers by which the storage moves keys and values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from core.memory.packed import PackedInts
from core.memory.selection import Selection


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class StepSlots:
    """The integers of a step by the token; the properties of `ChunkStep` say what they are."""

    insert_slots: PackedInts
    insert_pool: PackedInts
    retrieved_sources: PackedInts
    store_tokens: PackedInts | None
    store_pool: PackedInts


@dataclass(frozen=True, eq=False, kw_only=True)
class ChunkStep:
    """What the storage does for one chunk.

    Order: copy `carry_slots` behind the retrieved tokens if there are any; write `insert_slots` from the
    bank; denoise and commit the current frames; then store `store_tokens` into `store_pool`. A pool slot read
    by this step's insertions may be rewritten by its store.

    Attributes:
        chunk: The current chunk.
        frames: First latent frame of the chunk.
        frame_slots: Slab frame slots of the current frames, in order. They may wrap round the ring.
        native_slots: Filled native frame slots during the chunk, its own included: a prefix of the slab.
        selections: What is retrieved, best first.
        carried_frames: Latent frames just before recent that stay visible, the first perhaps in part (quirks
            of releases only, see `WindowLayout.carried_tokens`).
        carry_slots: Slab token slots where the carried tokens lie until the current frames overwrite them.
        packed: Slots and sources of tokens; the properties of the same names unpack them anew each time.
        freed_tokens: Stored tokens that are in the window for the last time.
        bank_tokens_live: Stored tokens that are in the window now or later; the bank has let go of those that
            are never read again (`Residency.live_tokens`).
        hits: Past chunks outside the native window that overlap the view and have tokens in the window.
        misses: The same, but with no token in the window.
        idle: Retrieved chunks that do not overlap the view.
    """

    chunk: int
    frames: int
    frame_slots: tuple[int, ...]
    native_slots: int
    selections: tuple[Selection, ...]
    carried_frames: tuple[int, ...]
    carry_slots: Int64[np.ndarray, " carried"]
    packed: StepSlots
    freed_tokens: int
    bank_tokens_live: int
    hits: int
    misses: int
    idle: int

    @property
    def num_retrieved(self) -> int:
        """Retrieved tokens in the region; they fill the slots [0, num_retrieved)."""
        return self.packed.retrieved_sources.count

    @property
    def num_inserted(self) -> int:
        """Tokens to write into the region now."""
        return self.packed.insert_slots.count

    @property
    def num_read(self) -> int:
        """Tokens to read from the bank for them: more, if chunks are pruned on use."""
        return self.packed.insert_pool.count

    @property
    def num_stored(self) -> int:
        """Tokens of this chunk to store."""
        return self.packed.store_pool.count

    @property
    def insert_slots(self) -> Int64[np.ndarray, " inserted"]:
        """Region slots to write now."""
        return self.packed.insert_slots.unpack()

    @property
    def insert_pool(self) -> Int64[np.ndarray, " read"]:
        """Slots of the plan's pool that name the tokens; see `MemoryPlan.pool_tokens`.

        If chunks are pruned on use: of the whole chunks, one after another, whose kept tokens fill the slots.
        """
        return self.packed.insert_pool.unpack()

    @property
    def retrieved_sources(self) -> Int64[np.ndarray, " retrieved"]:
        """What each retrieved slot holds: chunk * tokens_per_chunk + token.

        Or the rank among the chunk's kept tokens in place of the token (`MemoryPlan.sources_are_ranks`).
        """
        return self.packed.retrieved_sources.unpack()

    @property
    def store_tokens(self) -> Int64[np.ndarray, " stored"] | None:
        """Token indices of this chunk to store, sorted; None if pruning decides by keys."""
        return None if self.packed.store_tokens is None else self.packed.store_tokens.unpack()

    @property
    def store_pool(self) -> Int64[np.ndarray, " stored"]:
        """Slots of the plan's pool that name them from now on."""
        return self.packed.store_pool.unpack()
