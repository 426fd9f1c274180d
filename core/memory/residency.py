"""Residency: in which tier and slot of the bank every token lies, chunk by chunk.

Known before the rollout, because the schedule is. What is read soonest lies nearest (`stays`); a token
leaves the bank when it is read for the last time, also where the window goes on showing it. Order within a
chunk: what it reads is read and its slots are free; what will be read again and must lie elsewhere is moved
straight from what was read; then the chunk's own tokens are stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int8, Int32, Int64

from core.errors import InputError
from core.memory.packed import PackedInts, RunInts
from core.memory.slots import PoolSlots
from core.memory.stays import Stays, nearest_stays
from core.memory.step import ChunkStep
from core.memory.tiers import TIERS, Room, Tier

_NEVER = np.iinfo(np.int32).max
_NOWHERE = -1


@dataclass(frozen=True, eq=False, slots=True)
class TierTokens:
    """Tokens of a chunk in one tier.

    Attributes:
        tier: The tier.
        at: Which of the chunk's tokens (those it reads, or those it stores) they are; None for all of them.
        slots: Their slots in the tier.
        just_stored: Whether the chunk before stored them, so that they cannot be fetched any earlier.
    """

    tier: Tier
    at: PackedInts | None
    slots: PackedInts
    just_stored: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class StepTiers:
    """What happens to the bank's tiers in one chunk.

    Attributes:
        reads: Where the tokens lie that the chunk reads.
        moves: Where those of them go that will be read again, if not where they lie already.
        stores: Where the chunk's own tokens go.
        live: Tokens in every tier (in the order of `TIERS`) once the chunk is done.
    """

    reads: tuple[TierTokens, ...]
    moves: tuple[TierTokens, ...]
    stores: tuple[TierTokens, ...]
    live: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Residency:
    """The bank's tiers over the whole rollout.

    Attributes:
        steps: One entry a chunk.
        pool_tokens: Slots of every tier: the most that are ever taken at once.
        chunk_slots: Stored chunks that are in the bank at once, at most.
        chunk_slot: For every chunk its place among these, while it has tokens in the bank; -1 if never.
    """

    steps: tuple[StepTiers, ...]
    pool_tokens: Mapping[Tier, int]
    chunk_slots: int
    chunk_slot: Int32[np.ndarray, " chunks"]

    def read_tokens(self, tier: Tier) -> Int64[np.ndarray, " chunks"]:
        """Tokens that each chunk reads from a tier."""
        return _counts(tier, (step.reads for step in self.steps))

    def written_tokens(self, tier: Tier) -> Int64[np.ndarray, " chunks"]:
        """Tokens that each chunk writes to a tier, moved or stored."""
        return _counts(tier, ((*step.moves, *step.stores) for step in self.steps))

    @property
    def live_tokens(self) -> Int64[np.ndarray, "chunks 3"]:
        """Tokens in every tier once each chunk is done."""
        return np.array([step.live for step in self.steps], dtype=np.int64).reshape(-1, len(TIERS))


def _counts(tier: Tier, steps: Iterator[Sequence[TierTokens]]) -> Int64[np.ndarray, " chunks"]:
    return np.array(
        [sum(part.slots.count for part in parts if part.tier == tier) for parts in steps], dtype=np.int64
    )


@dataclass(frozen=True, eq=False)
class NextReads:
    """When every token is read next, chunk by chunk, in the order in which the chunk reads or stores them."""

    read: tuple[RunInts, ...]
    stored: tuple[RunInts, ...]


def next_reads(steps: Sequence[ChunkStep], pool_tokens: int, *, keep_all: bool) -> NextReads:
    """Look back from the end of the rollout.

    Args:
        steps: All chunks.
        pool_tokens: Slots of the plan's pool, by which a step names tokens.
        keep_all: Whether tokens stay in the bank that nobody reads again: up to the rollout's end.
    """
    never = len(steps) if keep_all else _NEVER
    coming = np.full(pool_tokens, never, dtype=np.int32)
    read, stored = [], []
    for step in reversed(steps):
        own = step.store_pool
        stored.append(RunInts.pack(coming[own]))
        coming[own] = never  # before this chunk, the slot belonged to another token
        wanted = step.insert_pool
        read.append(RunInts.pack(coming[wanted]))
        coming[wanted] = step.chunk
    return NextReads(tuple(reversed(read)), tuple(reversed(stored)))


def all_stays(coming: NextReads) -> Stays:
    """The stays of all tokens."""
    rows = [np.empty((4, 0), dtype=np.int64)]
    for chunk, runs in enumerate(zip(coming.read, coming.stored, strict=True)):
        for stored, each in enumerate(runs):
            ends, tokens = each.totals()
            there = ends != _NEVER
            ends, tokens = ends[there], tokens[there]
            rows.append(np.stack([np.full_like(ends, chunk), ends, np.full_like(ends, stored), tokens]))
    return Stays(*np.concatenate(rows, axis=1))


@dataclass(frozen=True, eq=False)
class Shares:
    """Tokens of every stay that each tier takes.

    Attributes:
        stays: All stays.
        tokens: For every stay the tokens in each tier, in the order of `TIERS`.
        short_tokens: Tokens that would have to lie somewhere else at the worst moment: 0 if all have room.
        num_chunks: Of the rollout: a stay that ends there ends unread.
    """

    stays: Stays
    tokens: Int64[np.ndarray, "stays 3"]
    short_tokens: int
    num_chunks: int

    @cached_property
    def peak_tokens(self) -> Mapping[Tier, int]:
        """Most tokens that each tier holds at a time."""
        stays = self.stays
        return {
            tier: Stays(stays.starts, stays.ends, stays.stored, tokens).peak_tokens
            for tier, tokens in zip(TIERS, self.tokens.T, strict=True)
        }

    @cached_property
    def most_ahead_tokens(self) -> int:
        """Most tokens that one chunk reads from disk and that lay there before the chunk before it."""
        stays = self.stays
        ahead = (stays.stored == 0) | (stays.ends - stays.starts > 1)
        read = np.zeros(int(stays.ends.max(initial=0)) + 1, dtype=np.int64)
        np.add.at(read, stays.ends[ahead], self.tokens[ahead, TIERS.index("disk")])
        return int(read[: self.num_chunks].max(initial=0))

    @cached_property
    def most_just_stored_tokens(self) -> int:
        """Most tokens that one chunk reads from disk right after the chunk before has stored them there."""
        stays = self.stays
        new = (stays.stored == 1) & (stays.ends - stays.starts == 1)
        read = np.zeros(self.num_chunks + 1, dtype=np.int64)
        np.add.at(read, stays.ends[new], self.tokens[new, TIERS.index("disk")])
        return int(read[: self.num_chunks].max(initial=0))

    @cached_property
    def most_to_disk_tokens(self) -> int:
        """Upper bound on tokens written to disk in one go: those of a chunk, and what the next one moves.

        Of what a chunk reads and what then stays on disk, only that is written that came from elsewhere.
        """
        stays, disk = self.stays, self.tokens[:, TIERS.index("disk")]
        stored = stays.stored == 1
        own, moved, came = (np.zeros(self.num_chunks + 1, dtype=np.int64) for _ in range(3))
        np.add.at(own, stays.starts[stored], disk[stored])
        np.add.at(moved, stays.starts[~stored], disk[~stored])
        np.add.at(came, stays.ends, self.tokens.sum(axis=1) - disk)
        moved = np.minimum(moved, came)
        return int((own + np.maximum(moved, np.append(moved[1:], 0))).max(initial=0))


def share_out(stays: Stays, room: Room, *, num_chunks: int) -> Shares:
    """Give every tier the stays that end soonest, the fastest tier first.

    Args:
        stays: All stays of the rollout.
        room: Of the tiers.
        num_chunks: Of the rollout.
    """
    left, taken = stays, []
    for limit in room.by_tier:
        here = left.tokens if limit is None else nearest_stays(left, limit)
        taken.append(here)
        left = left.without(here)
    return Shares(stays, np.stack(taken, axis=1), left.peak_tokens, num_chunks)


@dataclass(frozen=True, eq=False, kw_only=True)
class BankUse:
    """When stored tokens are read, whatever room there is for them.

    Attributes:
        steps: All chunks.
        pool_tokens: Slots of the plan's pool, by which a step names tokens.
        keep_all: Whether tokens stay in the bank that nobody reads again.
    """

    steps: tuple[ChunkStep, ...]
    pool_tokens: int
    keep_all: bool = False

    @cached_property
    def coming(self) -> NextReads:
        """When every token is read next."""
        return next_reads(self.steps, self.pool_tokens, keep_all=self.keep_all)

    @cached_property
    def stays(self) -> Stays:
        """The stays of all tokens."""
        return all_stays(self.coming)

    @cached_property
    def chunk_slots(self) -> tuple[Int32[np.ndarray, " chunks"], int]:
        """For every chunk its place among the stored ones, -1 if never stored; and how many there are."""
        return _chunk_slots(self.steps, keep_all=self.keep_all)

    @cached_property
    def peak_tokens(self) -> int:
        """Most tokens that are in the bank at a time."""
        return self.stays.peak_tokens

    def share_out(self, room: Room) -> Shares:
        """How many tokens lie where, and whether there is room for all."""
        return share_out(self.stays, room, num_chunks=len(self.steps))

    def reside(self, shares: Shares) -> Residency:
        """Give every token its place.

        Raises:
            InputError: There is not enough room.
        """
        if shares.short_tokens:
            problem = f"{shares.short_tokens} tokens of the bank find no room"
            raise InputError(problem, where="room of the bank", hint="give a tier more room")
        house = _House(shares, self.pool_tokens)
        done = tuple(
            house.step(step, read.unpack(), stored.unpack())
            for step, read, stored in zip(self.steps, self.coming.read, self.coming.stored, strict=True)
        )
        slot, count = self.chunk_slots
        pools = {tier: pool.size for tier, pool in zip(TIERS, house.pools, strict=True)}
        return Residency(steps=done, pool_tokens=pools, chunk_slots=count, chunk_slot=slot)


class _House:
    """Where every token lies now, by the slot of the plan's pool that names it."""

    def __init__(self, shares: Shares, pool_tokens: int) -> None:
        self.pools = tuple(PoolSlots() for _ in TIERS)
        self._tier = np.full(pool_tokens, _NOWHERE, dtype=np.int8)
        self._slot = np.zeros(pool_tokens, dtype=np.int64)
        self._stored_by = np.full(pool_tokens, _NOWHERE, dtype=np.int64)
        self._apart = _apart_from_device(shares)

    def step(
        self,
        step: ChunkStep,
        read_next: Int32[np.ndarray, " read"],
        stored_next: Int32[np.ndarray, " stored"],
    ) -> StepTiers:
        """One chunk: read, move, store."""
        wanted, own = step.insert_pool, step.store_pool
        lies = self._tier[wanted]
        reads = tuple(self._reads(step.chunk, wanted, lies))
        goes = self._targets(step.chunk, 0, read_next, lies)
        for tier, pool in enumerate(self.pools):
            leaves = wanted[(lies == tier) & (goes != tier)]
            if len(leaves):
                pool.give_back(self._slot[leaves])
        self._tier[wanted] = goes
        moves = tuple(self._take(wanted, np.where(goes == lies, np.int8(_NOWHERE), goes)))
        goes = self._targets(step.chunk, 1, stored_next, None)
        self._tier[own], self._stored_by[own] = goes, step.chunk
        stores = tuple(self._take(own, goes))
        device, host, disk = (pool.live for pool in self.pools)
        return StepTiers(reads, moves, stores, (device, host, disk))

    def _reads(
        self, chunk: int, wanted: Int64[np.ndarray, " read"], lies: Int8[np.ndarray, " read"]
    ) -> Iterator[TierTokens]:
        for number, tier in enumerate(TIERS):
            here = lies == number
            if tier != "disk":
                if here.any():
                    yield _tokens(tier, here, self._slot[wanted])
                continue
            new = here & (self._stored_by[wanted] == chunk - 1)
            for just_stored, mask in ((False, here & ~new), (True, new)):
                if mask.any():
                    yield _tokens(tier, mask, self._slot[wanted], just_stored=just_stored)

    def _take(
        self, named: Int64[np.ndarray, " tokens"], goes: Int8[np.ndarray, " tokens"]
    ) -> Iterator[TierTokens]:
        """New slots for what goes to a tier."""
        for number, (tier, pool) in enumerate(zip(TIERS, self.pools, strict=True)):
            mask = goes == number
            if mask.any():
                self._slot[named[mask]] = pool.take(int(mask.sum()))
                yield _tokens(tier, mask, self._slot[named])

    def _targets(
        self,
        chunk: int,
        stored: int,
        ends: Int32[np.ndarray, " tokens"],
        lies: Int8[np.ndarray, " tokens"] | None,
    ) -> Int8[np.ndarray, " tokens"]:
        """Tier of each token's coming stay; nowhere for those that have none."""
        goes = np.where(ends == _NEVER, np.int8(_NOWHERE), np.int8(0))
        for end, tokens in self._apart.get((chunk, stored), ()):
            among = np.flatnonzero(ends == end)
            if lies is not None:  # what lies in the faster tiers stays there
                among = among[np.argsort(lies[among], kind="stable")]
            goes[among] = np.repeat(np.arange(len(TIERS), dtype=np.int8), tokens)
        return goes


def _apart_from_device(shares: Shares) -> dict[tuple[int, int], list[tuple[int, Int64[np.ndarray, " 3"]]]]:
    """The stays that are not wholly on the device, by their start: their end, and tokens in each tier."""
    found: dict[tuple[int, int], list[tuple[int, Int64[np.ndarray, " 3"]]]] = {}
    stays = shares.stays
    for stay in np.flatnonzero(shares.tokens[:, 0] != stays.tokens).tolist():
        key = int(stays.starts[stay]), int(stays.stored[stay])
        found.setdefault(key, []).append((int(stays.ends[stay]), shares.tokens[stay]))
    return found


def _tokens(
    tier: Tier,
    mask: np.ndarray,
    slots: Int64[np.ndarray, " tokens"],
    *,
    just_stored: bool = False,
) -> TierTokens:
    if mask.all():
        return TierTokens(tier, None, PackedInts.pack(slots), just_stored)
    at = np.flatnonzero(mask)
    return TierTokens(tier, PackedInts.pack(at), PackedInts.pack(slots[at]), just_stored)


def _chunk_slots(steps: Sequence[ChunkStep], *, keep_all: bool) -> tuple[Int32[np.ndarray, " chunks"], int]:
    """A place for what is kept once per stored chunk, from its store to the last chunk that selects it."""
    last = np.full(len(steps), len(steps) if keep_all else _NOWHERE)
    if not keep_all:
        for step in steps:
            for selection in step.selections:
                last[selection.chunk] = step.chunk
    slot, places = np.full(len(steps), _NOWHERE, dtype=np.int32), PoolSlots()
    leaving: dict[int, list[int]] = {}
    for step in steps:
        if step.chunk in leaving:
            places.give_back(np.array(leaving.pop(step.chunk), dtype=np.int64))
        if step.num_stored and last[step.chunk] > step.chunk:
            slot[step.chunk] = places.take(1)[0]
            leaving.setdefault(int(last[step.chunk]), []).append(int(slot[step.chunk]))
    return slot, places.size
