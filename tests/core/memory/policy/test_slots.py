import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from core.memory.slots import PoolSlots, RegionSlots


def labels(*values):
    return np.asarray(values, dtype=np.int64)


def test_the_lowest_free_slots_go_first():
    pool = PoolSlots()
    assert pool.take(4).tolist() == [0, 1, 2, 3]
    pool.give_back(labels(2, 0))
    assert pool.take(3).tolist() == [0, 2, 4]
    assert (pool.size, pool.live) == (5, 5)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30), st.randoms())
def test_the_pool_is_as_small_as_its_peak(moves, random):
    pool, held, peak = PoolSlots(), set(), 0
    for freed, taken in moves:
        gone = random.sample(sorted(held), min(freed, len(held)))
        pool.give_back(labels(*gone))
        held -= set(gone)
        slots = pool.take(taken).tolist()
        assert len(set(slots)) == taken
        assert not held & set(slots)
        held |= set(slots)
        peak = max(peak, len(held))
        assert pool.live == len(held)
    assert pool.size == peak


def test_region_updates_in_full():
    region = RegionSlots()
    # Region of labels after each update; the written slots are marked by their count.
    steps = [
        ([10, 11, 12], [10, 11, 12], [0, 1, 2]),
        ([12, 11, 13], [13, 11, 12], [0]),  # 10 leaves, 13 takes its slot
        ([12], [12], [0]),  # the region shrinks: 12 moves down
        ([14, 12], [12, 14], [1]),
        ([], [], []),
    ]
    for wanted, held, written in steps:
        update = region.update(labels(*wanted), rewrite_all=False)
        assert labels(*wanted)[update.order].tolist() == held
        assert update.slots.tolist() == written
        assert update.order[update.slots].tolist() == update.wanted.tolist()


def test_rewriting_all_keeps_the_wanted_order():
    region = RegionSlots()
    for wanted in ([3, 1, 2], [2, 3], [9, 2, 3]):
        update = region.update(labels(*wanted), rewrite_all=True)
        assert update.slots.tolist() == update.wanted.tolist() == update.order.tolist()
        assert update.slots.tolist() == list(range(len(wanted)))


@given(st.lists(st.lists(st.integers(0, 15), unique=True, max_size=10), max_size=12))
def test_the_region_holds_the_wanted_tokens_with_the_fewest_writes(sets):
    region, slots = RegionSlots(), {}
    for wanted in sets:
        before = dict(slots)
        update = region.update(labels(*wanted), rewrite_all=False)
        for slot, which in zip(update.slots.tolist(), update.wanted.tolist(), strict=True):
            slots[slot] = wanted[which]
        filled = [slots[slot] for slot in range(len(wanted))]
        assert sorted(filled) == sorted(wanted)
        assert filled == [wanted[i] for i in update.order]
        # A wanted token that already lies in the filled part is never written again.
        stays = sum(before.get(slot) in wanted for slot in range(len(wanted)))
        assert len(update.slots) == len(wanted) - stays
        slots = dict(enumerate(filled))
