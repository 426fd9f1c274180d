"""From viewpoints to a plan: schedule, lifetimes, and a slot for every token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, Int64

from core.errors import InputError
from core.memory.carry import CarriedTokens
from core.memory.footprint import Footprint
from core.memory.layout import MemoryMode, WindowLayout
from core.memory.lifetimes import NEVER, Lifetimes, lifetimes
from core.memory.packed import PackedInts
from core.memory.plan import MemoryPlan
from core.memory.prune_policy import Pruning, kept_tokens
from core.memory.residency import BankUse
from core.memory.schedule import HIT_OVERLAP, Schedule, ScheduledChunk, build_schedule
from core.memory.selection import Selection
from core.memory.slots import PoolSlots, RegionSlots
from core.memory.step import ChunkStep, StepSlots
from core.memory.strategies.base import Strategy
from core.memory.viewpoints import Viewpoints

_NOTHING = np.empty(0, dtype=np.int64)


def plan_memory(  # noqa: PLR0913 - each is a choice of the caller's
    viewpoints: Viewpoints,
    *,
    footprint: Footprint,
    layout: WindowLayout,
    strategy: Strategy | None = None,
    pruning: Pruning | None = None,
    keep_all: bool = False,
    reinsert_all: bool = False,
    hit_overlap: float = HIT_OVERLAP,
    schedule: Schedule | None = None,
) -> MemoryPlan:
    """Plan the memory of a whole rollout.

    Args:
        viewpoints: Cameras of all latent frames.
        footprint: Shapes and bytes of the model.
        layout: The window.
        strategy: Who chooses what is retrieved; needed in memory mode worldkv, unused in the others.
        pruning: What is dropped from a chunk, before it is stored or on use; nothing by default. A rotating
            anchor implies `reinsert_all`.
        keep_all: Store every chunk and free nothing, for extending the world later.
        reinsert_all: Write every retrieved token anew for every chunk, in the order of the selections, for
            position modes whose positions change from chunk to chunk.
        hit_overlap: View overlap from which a past chunk counts as relevant. Range: (0, 1].
        schedule: What is retrieved when, if that is known already: of the same window and strategy.
    """
    pruning = pruning or Pruning()
    reinsert_all = reinsert_all or pruning.rotate_anchor
    stored_per_chunk = pruning.kept_per_chunk(layout.tokens_per_frame, layout.chunk_frames)
    _check(viewpoints, footprint, layout, strategy, pruning)
    if schedule is None:
        schedule = build_schedule(viewpoints, layout, strategy, hit_overlap=hit_overlap)
    uses = lifetimes(schedule, layout.tokens_per_chunk)
    bank = _Bank(viewpoints, uses, pruning=pruning, keep_all=keep_all)
    region, carried = RegionSlots(), CarriedTokens(layout)
    kept_on_use = stored_per_chunk if pruning.keys_on_use else None
    steps = tuple(
        _plan_step(
            scheduled, layout, bank, region, carried, kept_on_use=kept_on_use, reinsert_all=reinsert_all
        )
        for scheduled in schedule.chunks
    )
    return MemoryPlan(
        footprint=footprint,
        layout=layout,
        schedule=schedule,
        pruning=pruning,
        keep_all=keep_all,
        reinsert_all=reinsert_all,
        steps=steps,
        pool_tokens=bank.pool.size,
        use=BankUse(steps=steps, pool_tokens=bank.pool.size, keep_all=keep_all),
    )


@dataclass(frozen=True, eq=False)
class _Stored:
    """Where the stored tokens of a chunk lie.

    `ids` are token indices, or ranks among the stored tokens if keys decide; sorted either way. What the
    others say of an id that is not stored means nothing.
    """

    ids: Int64[np.ndarray, " stored"]
    pool_of: Int64[np.ndarray, " tokens_per_chunk"]
    last_use: Int32[np.ndarray, " tokens_per_chunk"]


@dataclass(frozen=True, eq=False)
class _Located:
    """Tokens of a selection: labels (chunk * tokens_per_chunk + id), pool slots, and slots not used again."""

    labels: Int64[np.ndarray, " n"]
    slots: Int64[np.ndarray, " n"]
    spent: Int64[np.ndarray, " spent"]


class _Bank:
    """The bank as the plan sees it: which token lies in which pool slot."""

    def __init__(
        self,
        viewpoints: Viewpoints,
        uses: Lifetimes,
        *,
        pruning: Pruning,
        keep_all: bool,
    ) -> None:
        self.pool = PoolSlots()
        self._viewpoints = viewpoints
        self._uses = uses
        self._pruning = pruning
        self._keep_all = keep_all
        self._stored: dict[int, _Stored] = {}

    def _kept(self, chunk: int) -> int:
        """Tokens of a chunk that are stored if keys decide which."""
        views = self._viewpoints
        return self._pruning.kept_per_chunk(views.tokens_per_frame, views.chunk_frames, chunk)

    def locate(self, selection: Selection, coming: int) -> _Located:
        """Where the tokens are that a coming chunk selects."""
        stored, tokens = self._stored[selection.chunk], selection.tokens
        ids = stored.ids if tokens is None else tokens
        slots = stored.pool_of[ids]
        labels = selection.chunk * self._uses.tokens_per_chunk + ids
        return _Located(labels, slots, slots[stored.last_use[ids] == coming])

    def free(self, located: list[_Located], scheduled: ScheduledChunk) -> int:
        """Free what this chunk retrieved for the last time; returns the number of tokens."""
        for selection in scheduled.selections:
            if self._uses.last_chunk(selection.chunk) == scheduled.chunk:
                del self._stored[selection.chunk]  # nobody will ask where it lies
        if self._keep_all:
            return 0
        slots = np.concatenate([_NOTHING, *(part.spent for part in located)])
        self.pool.give_back(slots)
        return len(slots)

    def store(self, chunk: int) -> tuple[Int64[np.ndarray, " n"] | None, Int64[np.ndarray, " n"]]:
        """Store what will be asked for; returns its token indices (None if keys decide) and pool slots."""
        # By keys, token indices are unknown; but then chunks come whole, and all their tokens end together.
        last_use = self._uses.last_use(chunk)
        tokens: Int64[np.ndarray, " n"] | None = np.flatnonzero(last_use != NEVER)
        if self._keep_all or self._uses.comes_whole(chunk):
            tokens = kept_tokens(self._pruning, self._viewpoints, chunk)
        ids = np.arange(self._kept(chunk), dtype=np.int64) if tokens is None else tokens
        slots = self.pool.take(len(ids))
        if self._uses.last_chunk(chunk) != NEVER:
            pool_of = np.zeros(self._uses.tokens_per_chunk, dtype=np.int64)
            pool_of[ids] = slots
            self._stored[chunk] = _Stored(ids, pool_of, last_use)
        return tokens, slots


def _plan_step(
    scheduled: ScheduledChunk,
    layout: WindowLayout,
    bank: _Bank,
    region: RegionSlots,
    carried: CarriedTokens,
    *,
    kept_on_use: int | None,
    reinsert_all: bool,
) -> ChunkStep:
    chunk = scheduled.chunk
    located = [bank.locate(selection, chunk) for selection in scheduled.selections]
    sources = np.concatenate([_NOTHING, *(part.labels[:kept_on_use] for part in located)])
    pools = [part.slots for part in located]
    update = region.update(sources, rewrite_all=reinsert_all)
    freed = bank.free(located, scheduled)
    store_tokens, store_pool = bank.store(chunk)
    current = layout.current(chunk)
    tokens = layout.carried_tokens(chunk, sum(len(slots) for slots in pools))
    return ChunkStep(
        chunk=chunk,
        frames=current.start,
        frame_slots=tuple(layout.frame_slot(frame) for frame in current),
        native_slots=layout.visible_native_slots(chunk),
        selections=scheduled.selections,
        carried_frames=_frames_of(tokens, layout.tokens_per_frame),
        carry_slots=carried.update(tokens, chunk=chunk, num_retrieved=len(sources)),
        packed=StepSlots(
            insert_slots=PackedInts.pack(update.slots),
            insert_pool=PackedInts.pack(_behind(update.wanted, pools, kept_on_use)),
            retrieved_sources=PackedInts.pack(sources[update.order]),
            store_tokens=None if store_tokens is None else PackedInts.pack(store_tokens),
            store_pool=PackedInts.pack(store_pool),
        ),
        freed_tokens=freed,
        bank_tokens_live=bank.pool.live,
        hits=scheduled.hits,
        misses=scheduled.misses,
        idle=scheduled.idle,
    )


def _behind(
    wanted: Int64[np.ndarray, " wanted"], pools: list[Int64[np.ndarray, " _"]], kept_on_use: int | None
) -> Int64[np.ndarray, " behind"]:
    """Pool slots of the wanted tokens; of their whole chunks, one after another, if pruned on use.

    On use, chunks of equal size take and leave region slots, so that `wanted` consists of whole chunks.
    """
    if kept_on_use is not None:
        return np.concatenate([_NOTHING, *(pools[i] for i in wanted[::kept_on_use] // kept_on_use)])
    slots: Int64[np.ndarray, " behind"] = np.concatenate([_NOTHING, *pools])[wanted]
    return slots


def _frames_of(tokens: range, tokens_per_frame: int) -> tuple[int, ...]:
    """Latent frames of a run of tokens."""
    first, end = tokens.start // tokens_per_frame, -(-tokens.stop // tokens_per_frame)
    return tuple(range(first, end)) if tokens else ()


def _check(
    viewpoints: Viewpoints,
    footprint: Footprint,
    layout: WindowLayout,
    strategy: Strategy | None,
    pruning: Pruning,
) -> None:
    if footprint.grid != viewpoints.grid or footprint.chunk_frames != viewpoints.chunk_frames:
        raise InputError(
            f"the model has a token grid of {footprint.grid} and chunks of {footprint.chunk_frames} frames, "
            f"the viewpoints {viewpoints.grid} and {viewpoints.chunk_frames}",
            where="viewpoints",
        )
    if layout.mode != MemoryMode.WORLDKV or strategy is None:
        return
    if not strategy.whole_chunks and pruning.rule != "none":
        raise InputError(
            f"strategy {strategy.name} picks the tokens itself, pruning by {pruning.rule} cannot apply",
            where="--prune",
            hint="use --prune none, or a strategy for whole chunks (pose, coverage)",
        )
    stored = pruning.kept_per_chunk(layout.tokens_per_frame, layout.chunk_frames)
    needed = stored * (strategy.max_chunks or 0)
    if needed > layout.retrieve_tokens:
        raise InputError(
            f"{strategy.max_chunks} retrieved chunks of {stored} tokens need {needed} tokens, "
            f"the window has room for {layout.retrieve_tokens}",
            where="--retrieve",
            hint=f"retrieve {layout.retrieve_tokens // stored} chunks, or make room for {needed} tokens",
        )
