"""The pool in host memory: tokens go there and back in as few pieces as they lie in."""

import pytest
import torch

from core.memory.bank import MOST_RUNS, Bank, Run, _runs
from tests.core.memory.policy.cameras import footprint

CPU = torch.device("cpu")
SLOTS = {
    "side by side": [4, 5, 6, 7],
    "two pieces": [4, 5, 9, 10, 11],
    "backwards": [7, 6, 5],
    "one": [3],
    "none": [],
    "scattered": list(range(0, 4 * MOST_RUNS, 2)),
}


def banks(tokens):
    shape = footprint()
    return [Bank(shape, tokens, device=CPU, dtype=torch.float32, tier=tier) for tier in ("device", "host")]


@pytest.mark.parametrize("name", list(SLOTS))
def test_both_tiers_hold_the_same(name):
    slots = torch.tensor(SLOTS[name], dtype=torch.int64)
    generator = torch.Generator().manual_seed(0)
    device, host = banks(4 * MOST_RUNS)
    shape = (1, len(slots), *device.keys.shape[3:])
    keys, values = (torch.randn(shape, generator=generator) for _ in range(2))
    ids = torch.arange(len(slots))[None] + 7
    for bank in (device, host):
        bank.store(1, slots, keys, values, ids)
        bank.store(0, slots, values, keys, ids)
    assert torch.equal(device.keys, host.keys)
    assert torch.equal(device.values, host.values)
    order = torch.randperm(len(slots), generator=generator)
    for read in (slots, slots[order]):
        for layer in range(2):
            ours, theirs = host.read(layer, read), device.read(layer, read)
            assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert torch.equal(host.read(1, slots).keys, keys)


def test_runs():
    assert _runs(torch.tensor([4, 5, 9, 10, 11, 2])) == [Run(0, 4, 2), Run(2, 9, 3), Run(5, 2, 1)]
    assert _runs(torch.arange(100)) == [Run(0, 0, 100)]
    assert _runs(torch.arange(0, 2 * MOST_RUNS, 2)) == [Run(i, 2 * i, 1) for i in range(MOST_RUNS)]
    assert _runs(torch.arange(0, 2 * MOST_RUNS + 2, 2)) is None
    assert _runs(torch.empty(0, dtype=torch.int64)) == []
