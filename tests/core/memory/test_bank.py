"""Rows between the device and pools in host memory, in as few pieces as they lie in."""

import numpy as np
import pytest
import torch

from core.memory.copies import MOST_RUNS, Run, bring_rows, find_runs, send_rows

SLOTS = {
    "side by side": [4, 5, 6, 7],
    "two pieces": [4, 5, 9, 10, 11],
    "backwards": [7, 6, 5],
    "one": [3],
    "none": [],
    "scattered": list(range(0, 4 * MOST_RUNS, 2)),
}


@pytest.mark.parametrize("spread", [1, 3])
@pytest.mark.parametrize("name", list(SLOTS))
def test_rows_go_to_their_slots_and_back(name, spread):
    slots = np.array(SLOTS[name], dtype=np.int64)
    at = spread * np.arange(len(slots))
    runs = find_runs(at, slots)
    rows = torch.randint(1, 1 << 40, (2, spread * len(slots) + 1, 3))
    pool = torch.zeros((2, 4 * MOST_RUNS, 3), dtype=torch.int64)
    places = torch.from_numpy(at), torch.from_numpy(slots)
    send_rows(rows, runs, places[1], places[0], pool)
    assert torch.equal(pool[:, places[1]], rows[:, places[0]])
    assert pool.count_nonzero() == 2 * 3 * len(slots)
    back = torch.zeros_like(rows)
    bring_rows(pool, runs, places[1], places[0], back)
    assert torch.equal(back[:, places[0]], rows[:, places[0]])
    assert back.count_nonzero() == 2 * 3 * len(slots)


def test_runs_break_where_either_end_does():
    at = np.arange(6)
    assert find_runs(at, np.array([4, 5, 9, 10, 11, 2])) == [Run(0, 4, 2), Run(2, 9, 3), Run(5, 2, 1)]
    assert find_runs(np.array([0, 1, 3]), np.array([4, 5, 6])) == [Run(0, 4, 2), Run(3, 6, 1)]
    assert find_runs(np.arange(100), np.arange(100)) == [Run(0, 0, 100)]
    assert find_runs(np.arange(MOST_RUNS), np.arange(0, 2 * MOST_RUNS, 2)) is not None
    assert find_runs(np.arange(MOST_RUNS + 1), np.arange(0, 2 * MOST_RUNS + 2, 2)) is None
