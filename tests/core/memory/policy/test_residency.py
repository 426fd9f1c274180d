"""Which tier holds a token when: against brute force, and as a bank of labels executes it."""

import itertools
import random
from functools import cache

import numpy as np
import pytest

from core.errors import InputError
from core.memory.packed import PackedInts, RunInts
from core.memory.residency import BankUse
from core.memory.selection import Selection
from core.memory.stays import Stays, nearest_stays
from core.memory.step import ChunkStep, StepSlots
from core.memory.tiers import TIERS, Room

NOTHING = np.empty(0, dtype=np.int64)


def packed(integers) -> PackedInts:
    return PackedInts.pack(np.array(sorted(integers), dtype=np.int64))


def step_of(chunk: int, stores: set[int], reads: set[int]) -> ChunkStep:
    """A chunk that stores and reads tokens; token i lives in slot i of the plan's pool."""
    nothing = packed(())
    return ChunkStep(
        chunk=chunk,
        frames=3 * chunk,
        frame_slots=(0, 1, 2),
        native_slots=3,
        selections=tuple(Selection(c, None, 0.0) for c in sorted({r // 100 for r in reads})),
        carried_frames=(),
        carry_slots=NOTHING,
        packed=StepSlots(
            insert_slots=nothing,
            insert_pool=packed(reads),
            retrieved_sources=nothing,
            store_tokens=None,
            store_pool=packed(stores),
        ),
        freed_tokens=0,
        bank_tokens_live=0,
        hits=0,
        misses=0,
        idle=0,
    )


def script(seed: int, *, chunks: int = 7, tokens: int = 6) -> tuple[list[set[int]], list[set[int]]]:
    """What each chunk stores and reads: every token is stored once and read once or more later."""
    pick = random.Random(seed)
    stores, reads = [set() for _ in range(chunks)], [set() for _ in range(chunks)]
    for token in range(tokens):
        born = pick.randrange(chunks - 1)
        stores[born].add(token)
        later = range(born + 1, chunks)
        for chunk in pick.sample(later, pick.randint(1, min(4, len(later)))):
            reads[chunk].add(token)
    return stores, reads


def use_of(stores, reads) -> BankUse:
    steps = tuple(step_of(c, s, r) for c, (s, r) in enumerate(zip(stores, reads, strict=True)))
    return BankUse(steps=steps, pool_tokens=1 + max(set().union(*stores), default=0))


def fewest(stores, reads, room: int, *, writes: bool) -> int:
    """Fewest tokens that can cross the border of a fast tier, whatever is kept when; every way is tried."""

    @cache
    def least(chunk: int, held: frozenset[int], below: frozenset[int]) -> int:
        if chunk == len(stores):
            return 0
        cost = len(reads[chunk] - held)
        there = held | reads[chunk] | stores[chunk]
        needed = frozenset(t for t in there | below if any(t in later for later in reads[chunk + 1 :]))
        best = None
        options = sorted(there & needed)
        for size in range(min(room, len(options)) + 1):
            for kept in itertools.combinations(options, size):
                sent = (there & needed) - set(kept) - below
                total = least(chunk + 1, frozenset(kept), (below | sent) & needed)
                total += len(sent) if writes else 0
                best = total if best is None else min(best, total)
        return cost + (best or 0)

    return least(0, frozenset(), frozenset())


def moved(residency, tier: str) -> tuple[int, int]:
    return int(residency.read_tokens(tier).sum()), int(residency.written_tokens(tier).sum())


@pytest.mark.parametrize("seed", range(60))
def test_no_residency_reads_less_from_below(seed):
    """Uniform tokens, two tiers: as few reads from the slow one as if every choice were tried."""
    stores, reads = script(seed)
    use = use_of(stores, reads)
    for room in range(4):
        residency = use.reside(use.share_out(Room(device=room, host=None)))
        assert residency.pool_tokens["device"] <= room
        assert moved(residency, "host")[0] == fewest(stores, reads, room, writes=False)


@pytest.mark.parametrize("seed", range(30))
def test_three_tiers(seed):
    """Reads from below the first are the fewest possible; of these, host memory serves as many as it can."""
    stores, reads = script(seed)
    use = use_of(stores, reads)
    for device, host in itertools.product(range(3), range(3)):
        residency = use.reside(use.share_out(Room(device=device, host=host, disk=None)))
        assert residency.pool_tokens["device"] <= device
        assert residency.pool_tokens["host"] <= host
        below = [moved(residency, tier)[0] for tier in ("host", "disk")]
        assert sum(below) == fewest(stores, reads, device, writes=False)
        assert below[1] >= fewest(stores, reads, device + host, writes=False)
        left = use.stays.without(nearest_stays(use.stays, device))
        assert below[0] == most(rows_of(left), host)


@pytest.mark.parametrize("seed", range(40))
def test_with_writes_it_moves_at_most_twice_the_least(seed):
    """Fewest reads and writes together is a hard problem (Farach-Colton and Liberatore 2000); but whatever
    is written below is read from there, so writes are at most as many as reads."""
    stores, reads = script(seed)
    use = use_of(stores, reads)
    for room in range(1, 4):
        residency = use.reside(use.share_out(Room(device=room, host=None)))
        read, written = moved(residency, "host")
        assert written <= read
        assert read + written <= 2 * fewest(stores, reads, room, writes=True)


@pytest.mark.parametrize("seed", range(200))
def test_the_most_stays_are_taken(seed):
    pick = random.Random(seed)
    rows = []
    for _ in range(pick.randint(0, 8)):
        start = pick.randrange(8)
        rows.append((start, start + pick.randint(1, 6), pick.randrange(2), 1))
    rows.sort()
    stays = Stays(*np.array(rows, dtype=np.int64).reshape(-1, 4).T)
    for room in range(4):
        ours = nearest_stays(stays, room)
        assert Stays(stays.starts, stays.ends, stays.stored, ours).peak_tokens <= room
        assert ours.sum() == most(rows, room)


def rows_of(stays: Stays) -> list[tuple[int, int]]:
    """Start and end of every token's stay."""
    columns = (stays.starts.tolist(), stays.ends.tolist(), stays.tokens.tolist())
    return [(start, end) for start, end, count in zip(*columns, strict=True) for _ in range(count)]


def most(rows, room: int) -> int:
    """Most of the stays that overlap nowhere more than `room` deep; every choice is tried."""
    for size in range(len(rows), 0, -1):
        for chosen in itertools.combinations(rows, size):
            if all(sum(s <= t < e for s, e, *_ in chosen) <= room for t in range(15)):
                return size
    return 0


def execute(use: BankUse, residency) -> None:
    """Run a bank of labels: whatever is read is there, and nothing lies where something else is needed."""
    pools = {tier: [None] * residency.pool_tokens[tier] for tier in TIERS}
    stored_by = {}
    for step, tiers in zip(use.steps, residency.steps, strict=True):
        wanted = step.insert_pool.tolist()
        found: list = [None] * len(wanted)
        for part in tiers.reads:
            at = range(len(wanted)) if part.at is None else part.at.unpack()
            for place, slot in zip(at, part.slots.unpack(), strict=True):
                assert found[place] is None
                found[place] = pools[part.tier][slot]
                if part.tier == "disk":
                    assert part.just_stored == (stored_by[found[place]] == step.chunk - 1)
        assert found == wanted
        for part in tiers.moves:
            at = range(len(wanted)) if part.at is None else part.at.unpack()
            for place, slot in zip(at, part.slots.unpack(), strict=True):
                pools[part.tier][slot] = wanted[place]
        own = step.store_pool.tolist()
        for part in tiers.stores:
            at = range(len(own)) if part.at is None else part.at.unpack()
            for place, slot in zip(at, part.slots.unpack(), strict=True):
                pools[part.tier][slot], stored_by[own[place]] = own[place], step.chunk


def to_disk(tiers, after) -> int:
    """Written behind before anybody waits: what a chunk stores, and what it or the next one moves."""
    stored, *moved = (
        sum(p.slots.count for p in parts if p.tier == "disk")
        for parts in (tiers.stores, tiers.moves, after.moves if after else ())
    )
    return stored + max(moved)


def read_ahead(tiers) -> int:
    return sum(p.slots.count for p in tiers.reads if p.tier == "disk" and not p.just_stored)


@pytest.mark.parametrize("seed", range(60))
def test_what_is_read_is_there(seed):
    stores, reads = script(seed, chunks=12, tokens=20)
    use = use_of(stores, reads)
    whole = use.reside(use.share_out(Room()))
    assert whole.pool_tokens == {"device": use.peak_tokens, "host": 0, "disk": 0}
    assert not any(step.moves for step in whole.steps)
    execute(use, whole)
    pick = random.Random(seed)
    for _ in range(6):
        room = Room(device=pick.randrange(8), host=pick.randrange(6), disk=None)
        shares = use.share_out(room)
        residency = use.reside(shares)
        execute(use, residency)
        assert residency.pool_tokens == shares.peak_tokens
        assert shares.most_ahead_tokens == max(read_ahead(step) for step in residency.steps)
        ways = zip(residency.steps, (*residency.steps[1:], None), strict=True)
        assert shares.most_to_disk_tokens >= max(to_disk(step, after) for step, after in ways)
        live = residency.live_tokens
        assert live.max(axis=0).tolist() == [residency.pool_tokens[tier] for tier in TIERS]
        assert live[-1].sum() == 0  # read for the last time is gone
        assert sum(moved(residency, tier)[0] for tier in TIERS) == sum(map(len, reads))


def test_too_little_room_is_told():
    use = use_of(*script(3))
    short = use.peak_tokens - 2
    shares = use.share_out(Room(device=1, host=1))
    assert shares.short_tokens == short > 0
    with pytest.raises(InputError, match=f"{short} tokens of the bank find no room"):
        use.reside(shares)


def test_a_token_leaves_the_bank_when_it_is_read_for_the_last_time():
    use = use_of([{0, 1}, set(), set(), set()], [set(), {0, 1}, {1}, set()])
    assert use.reside(use.share_out(Room())).live_tokens[:, 0].tolist() == [2, 1, 0, 0]


def test_what_all_keep_stays_to_the_end():
    stores, reads = [{0, 1}, {2}, set()], [set(), {0}, set()]
    steps = tuple(step_of(c, s, r) for c, (s, r) in enumerate(zip(stores, reads, strict=True)))
    use = BankUse(steps=steps, pool_tokens=3, keep_all=True)
    assert use.reside(use.share_out(Room())).live_tokens[:, 0].tolist() == [2, 3, 3]
    shares = use.share_out(Room(device=1, host=None))
    assert shares.peak_tokens == {"device": 1, "host": 2, "disk": 0}
    assert use.share_out(Room.only("disk")).most_ahead_tokens == 0  # what stays unread is not fetched


@pytest.mark.parametrize("integers", [[], [7], [3, 3, 3], [1, 2, 2, 1, 1]])
def test_runs_of_integers(integers):
    runs = RunInts.pack(np.array(integers, dtype=np.int32))
    assert runs.unpack().tolist() == integers
    assert [each.tolist() for each in runs.totals()] == [
        sorted(set(integers)),
        [integers.count(i) for i in sorted(set(integers))],
    ]
