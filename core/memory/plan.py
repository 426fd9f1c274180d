"""The plan of a rollout's memory: all integers that the storage needs, chunk by chunk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from core.memory.footprint import Footprint
from core.memory.layout import WindowLayout
from core.memory.prune_policy import Pruning
from core.memory.residency import BankUse, Residency, Shares
from core.memory.row_bytes import Precision, row_bytes, scale_bytes
from core.memory.schedule import Schedule
from core.memory.step import ChunkStep
from core.memory.tiers import ID_BYTES, TIERS, Room, Tier


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
        pool_tokens: Slots by which the steps name stored tokens; a name is used again once nobody needs the
            token. Where tokens really lie is the residency's to say.
        use: When stored tokens are read.
        room: Tokens that each tier of the bank may hold.
        precision: How keys and values are stored in the bank.
    """

    footprint: Footprint
    layout: WindowLayout
    schedule: Schedule
    pruning: Pruning
    keep_all: bool
    reinsert_all: bool
    steps: tuple[ChunkStep, ...]
    pool_tokens: int
    use: BankUse
    room: Room = field(default_factory=Room)
    precision: Precision = "native"

    def within(self, room: Room, precision: Precision | None = None) -> MemoryPlan:
        """The same with another room for the bank, or another precision."""
        return replace(self, room=room, precision=precision or self.precision)

    @cached_property
    def shares(self) -> Shares:
        """How many tokens lie in which tier."""
        return self.use.share_out(self.room)

    @cached_property
    def residency(self) -> Residency:
        """Where stored tokens lie.

        Raises:
            InputError: There is not enough room.
        """
        return self.use.reside(self.shares)

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
    def bank_token_bytes(self) -> int:
        """Bytes of a stored token over all layers; where keys decide what is stored, with its origin."""
        shape, ids = self.footprint, ID_BYTES if self.pruning.keys_on_store else 0
        row = row_bytes(self.precision, shape.num_heads, shape.head_dim, shape.kv_element_bytes)
        return shape.num_layers * (row + ids)

    @property
    def tier_bytes(self) -> Mapping[Tier, int]:
        """Bytes of the bank in every tier, over all layers."""
        tokens = self.shares.peak_tokens
        return {tier: count * self.bank_token_bytes for tier, count in tokens.items()}

    @property
    def scale_bytes(self) -> int:
        """Bytes of what is kept once per stored chunk and layer, always on the device."""
        shape = self.footprint
        each = scale_bytes(self.precision, shape.num_heads, shape.head_dim)
        return shape.num_layers * self.use.chunk_slots[1] * each

    @property
    def bank_bytes(self) -> int:
        """Bytes of the bank over all tiers and layers."""
        return sum(self.tier_bytes.values()) + self.scale_bytes

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
    def read_bytes(self) -> Mapping[Tier, int]:
        """Bytes read from every tier in the whole rollout."""
        return {t: int(self.residency.read_tokens(t).sum()) * self.bank_token_bytes for t in TIERS}

    @property
    def written_bytes(self) -> Mapping[Tier, int]:
        """Bytes written to every tier in the whole rollout, stored or moved."""
        return {t: int(self.residency.written_tokens(t).sum()) * self.bank_token_bytes for t in TIERS}

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
            "bank_precision": self.precision,
            "bank_token_bytes": self.bank_token_bytes,
            "bank_bytes": self.bank_bytes,
            **{f"bank_{tier}_bytes": size for tier, size in self.tier_bytes.items()},
            **{f"bank_{tier}_read_bytes": size for tier, size in self.read_bytes.items()},
            **{f"bank_{tier}_written_bytes": size for tier, size in self.written_bytes.items()},
            "bank_bytes_unmanaged": all_tokens * self.footprint.kv_bytes_per_token,
            "stored_tokens": self.stored_tokens,
            "stored_token_ratio": self.stored_token_ratio,
            "retrieved_tokens": self.retrieved_tokens,
            "retrieved_token_ratio": self.retrieved_token_ratio,
            "inserted_tokens": self.inserted_tokens,
            "hits": self.schedule.hits,
            "misses": self.schedule.misses,
            "idle": self.schedule.idle,
            "hit_overlap": self.schedule.hit_overlap,
            "retrieval_precision": self.schedule.precision,
            "retrieval_recall": self.schedule.recall,
            "revisiting_chunks": self.schedule.revisiting_chunks,
            "recalled_chunks": self.schedule.recalled_chunks,
        }
