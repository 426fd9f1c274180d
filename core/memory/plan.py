"""The plan of a rollout's memory: all integers that the storage needs, chunk by chunk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int64

from core.memory.footprint import Footprint
from core.memory.layout import WindowLayout
from core.memory.packed import PackedInts
from core.memory.prune_policy import Pruning
from core.memory.schedule import Schedule
from core.memory.selection import Selection


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class StepSlots:
    """The integers of a step by the token; the properties of `ChunkStep` say what they are."""

    insert_slots: PackedInts
    insert_pool: PackedInts
    retrieved_sources: PackedInts
    retrieved_pool: PackedInts
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
        freed_tokens: Bank tokens used for the last time by this step.
        bank_tokens_live: Bank tokens still needed once the step is done.
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
    def num_stored(self) -> int:
        """Tokens of this chunk to store."""
        return self.packed.store_pool.count

    @property
    def insert_slots(self) -> Int64[np.ndarray, " inserted"]:
        """Region slots to write now."""
        return self.packed.insert_slots.unpack()

    @property
    def insert_pool(self) -> Int64[np.ndarray, " read"]:
        """Bank pool slots that they come from.

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
    def retrieved_pool(self) -> Int64[np.ndarray, " behind"]:
        """Bank pool slots of the filled region slots, in slot order (of whole chunks, as in `insert_pool`).

        What a snapshot needs to rebuild the region.
        """
        return self.packed.retrieved_pool.unpack()

    @property
    def store_tokens(self) -> Int64[np.ndarray, " stored"] | None:
        """Token indices of this chunk to store, sorted; None if pruning decides by keys."""
        return None if self.packed.store_tokens is None else self.packed.store_tokens.unpack()

    @property
    def store_pool(self) -> Int64[np.ndarray, " stored"]:
        """Bank pool slots they go to."""
        return self.packed.store_pool.unpack()


@dataclass(frozen=True, eq=False, kw_only=True)
class MemoryPlan:
    """The whole rollout's memory, known before it starts.

    Attributes:
        footprint: Shapes and bytes of the model.
        layout: The window.
        schedule: What is retrieved when.
        pruning: What is dropped from a chunk, before it is stored or on use.
        keep_all: Whether every chunk is stored and nothing is freed.
        reinsert_all: Whether every retrieved token is written anew for every chunk.
        steps: One entry a chunk.
        pool_tokens: Token slots of the bank: the most that ever live at once.
    """

    footprint: Footprint
    layout: WindowLayout
    schedule: Schedule
    pruning: Pruning
    keep_all: bool
    reinsert_all: bool
    steps: tuple[ChunkStep, ...]
    pool_tokens: int

    @property
    def sources_are_ranks(self) -> bool:
        """Whether sources count ranks among kept tokens: only the keys will tell which tokens these are."""
        return self.pruning.needs_keys

    @property
    def window_tokens(self) -> int:
        """Token slots of the window slab of one layer."""
        return self.layout.window_tokens

    @property
    def window_bytes(self) -> int:
        """Bytes of the window slab over all layers."""
        return self.window_tokens * self.footprint.kv_bytes_per_token

    @property
    def bank_bytes(self) -> int:
        """Bytes of the bank's pool over all layers."""
        return self.pool_tokens * self.footprint.kv_bytes_per_token

    def visible_tokens(self, step: ChunkStep) -> int:
        """Keys that the chunk attends to, its own included: the first slots of the slab."""
        region = step.num_retrieved + len(step.carry_slots)
        native = self.layout.native_frames if region else step.native_slots
        return native * self.footprint.tokens_per_frame + region

    @cached_property
    def stored_tokens(self) -> int:
        """Tokens that are ever stored."""
        return sum(step.num_stored for step in self.steps)

    @cached_property
    def retrieved_tokens(self) -> int:
        """Retrieved tokens, summed over chunks."""
        return sum(step.num_retrieved for step in self.steps)

    @cached_property
    def inserted_tokens(self) -> int:
        """Tokens copied from the bank into the window, summed over chunks."""
        return sum(step.num_inserted for step in self.steps)

    @property
    def retrieved_token_ratio(self) -> float:
        """Retrieved tokens over the tokens of the selected chunks had they come whole; 0 if none were."""
        whole = sum(len(step.selections) for step in self.steps) * self.layout.tokens_per_chunk
        return self.retrieved_tokens / whole if whole else 0.0

    @property
    def stored_token_ratio(self) -> float:
        """Tokens that are ever stored over all tokens of the rollout."""
        return self.stored_tokens / (self.layout.num_frames * self.layout.tokens_per_frame)

    def summary(self) -> Mapping[str, int | float | str | bool | None]:
        """The plan in numbers, for JSON."""
        all_tokens = self.layout.num_frames * self.layout.tokens_per_frame
        return {
            "memory": str(self.layout.mode),
            "strategy": self.schedule.strategy,
            "chunks": self.layout.num_chunks,
            "tokens_per_chunk": self.layout.tokens_per_chunk,
            "sink_frames": self.layout.sink_frames,
            "recent_frames": self.layout.recent_frames,
            "retrieve_tokens": self.layout.retrieve_tokens,
            "prune": self.pruning.rule,
            "keep_ratio": self.pruning.keep_ratio,
            "keep_all": self.keep_all,
            "window_tokens": self.window_tokens,
            "window_bytes": self.window_bytes,
            "pool_tokens": self.pool_tokens,
            "bank_bytes": self.bank_bytes,
            "bank_bytes_unmanaged": all_tokens * self.footprint.kv_bytes_per_token,
            "stored_tokens": self.stored_tokens,
            "stored_token_ratio": self.stored_token_ratio,
            "retrieved_tokens": self.retrieved_tokens,
            "retrieved_token_ratio": self.retrieved_token_ratio,
            "inserted_tokens": self.inserted_tokens,
            "inserted_bytes": self.inserted_tokens * self.footprint.kv_bytes_per_token,
            "hits": self.schedule.hits,
            "misses": self.schedule.misses,
            "idle": self.schedule.idle,
            "hit_overlap": self.schedule.hit_overlap,
            "retrieval_precision": self.schedule.precision,
            "retrieval_recall": self.schedule.recall,
            "revisiting_chunks": self.schedule.revisiting_chunks,
            "recalled_chunks": self.schedule.recalled_chunks,
        }
