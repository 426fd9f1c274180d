"""A bank split over device, host and disk: the same bits, the planned bytes, nothing left behind."""

import time
from dataclasses import replace

import pytest
import torch

from core.errors import InputError, OutputError
from core.memory.bank_bytes import read_ahead_bytes, write_behind_bytes
from core.memory.disk_pool import DiskPool
from core.memory.positions import PositionMode
from core.memory.prune_policy import Pruning
from core.memory.strategies import strategy
from core.memory.tiers import TIERS, Room
from tests.core.memory.tiny import make_plan, new_memory, run, there_and_back

VIEWS = there_and_back(10)
NEAR = {"sink": 3, "recent": 3}
POSE = {**NEAR, "strategy": strategy("pose")(num_chunks=3), "chunks": 3}
KEYS = {**POSE, "pruning": Pruning(rule="key", keep_ratio=0.25)}
CASES = {
    "pose": POSE,
    "pose-key": KEYS,
    "pose-on-use": {**POSE, "pruning": Pruning(rule="key", keep_ratio=0.25, when="use")},
    "no recent": {**POSE, "sink": 0, "recent": 0},
    "rays": {**NEAR, "strategy": strategy("rays")(), "tokens": 60},
    "rays-slot": {**NEAR, "strategy": strategy("rays")(), "tokens": 60, "positions": PositionMode.SLOT},
    "keep-all": {**NEAR, "strategy": strategy("rays")(), "tokens": 60, "keep_all": True},
}


def shares(plan, *parts):
    """Room for parts of the whole bank; None for no limit."""
    whole = plan.use.peak_tokens
    return Room(**{t: None if p is None else int(p * whole) for t, p in zip(TIERS, parts, strict=True)})


def rooms(plan):
    yield "host", Room.only("host")
    yield "disk", Room.only("disk")
    yield "half and half", shares(plan, 0.5, None, 0)
    yield "thirds", shares(plan, 0.3, 0.3, None)
    yield "a little of each", shares(plan, 0.1, 0.2, None)


def made(name, plan, folder, **changes):
    positions = CASES[name].get("positions", PositionMode.ABSOLUTE)
    return new_memory(plan, positions=positions, folder=folder, **changes)


def same(ours, expected):
    return len(ours) == len(expected) and all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))


@pytest.mark.parametrize("ahead", [False, True], ids=["in turn", "ahead"])
@pytest.mark.parametrize("name", CASES)
def test_every_split_gives_the_same_bits(name, ahead, tmp_path):
    """Also where tokens go into the window while the chunk before still computes."""
    plan = make_plan(VIEWS, **CASES[name])
    expected = run(VIEWS, plan, made(name, plan, tmp_path))
    used = set()
    for _, room in rooms(plan):
        split = plan.within(room)
        memory = made(name, split, tmp_path, ahead=ahead)
        assert memory.tier_bytes == split.tier_bytes
        assert same(run(VIEWS, split, memory), expected)
        used |= {tier for tier, size in memory.tier_bytes.items() if size}
        memory.close()
    assert used == set(TIERS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", CASES)
def test_batches_give_the_same_bits(name, tmp_path):
    plan = make_plan(VIEWS, **CASES[name])
    split = plan.within(shares(plan, 0.3, 0.3, None))
    expected = run(VIEWS, plan, made(name, plan, tmp_path, batch=2), batch=2)
    assert same(run(VIEWS, split, made(name, split, tmp_path, batch=2), batch=2), expected)


@pytest.mark.parametrize("ahead", [False, True], ids=["in turn", "ahead"])
@pytest.mark.parametrize("name", ["pose", "pose-key", "rays", "rays-slot"])
def test_a_snapshot_of_a_split_bank(name, ahead, tmp_path):
    plan = make_plan(VIEWS, **CASES[name])
    plan = plan.within(shares(plan, 0.3, 0.3, None))
    whole = run(VIEWS, plan, made(name, plan, tmp_path))
    for cut in (2, 5, 8):
        first = made(name, plan, tmp_path, ahead=ahead)
        run(VIEWS, replace(plan, steps=plan.steps[:cut]), first)
        snapshot = {key: t.clone() for key, t in first.state().items()}
        second = made(name, plan, tmp_path, ahead=ahead)
        second.restore(snapshot)
        assert same(run(VIEWS, replace(plan, steps=plan.steps[cut:]), second), whole[cut:])


@pytest.mark.parametrize("precision", ["int8", "int4"])
@pytest.mark.parametrize("name", ["pose", "pose-key", "pose-on-use", "rays", "rays-slot"])
def test_a_quantised_bank_is_near(name, precision, tmp_path):
    """Wherever it lies the same bits; near those of a native one, and int8 nearer than int4."""
    plan = make_plan(VIEWS, **CASES[name])
    expected = torch.cat(run(VIEWS, plan, made(name, plan, tmp_path)))
    narrow = plan.within(Room(), precision)
    ours = run(VIEWS, narrow, made(name, narrow, tmp_path))
    for _, room in rooms(plan):
        split = narrow.within(room)
        assert same(run(VIEWS, split, made(name, split, tmp_path, ahead=True)), ours)
    gap = (torch.cat(ours) - expected).square().mean().sqrt() / expected.square().mean().sqrt()
    assert 0 < gap < {"int8": 0.02, "int4": 0.25}[precision]
    assert narrow.bank_token_bytes < plan.bank_token_bytes * {"int8": 0.4, "int4": 0.35}[precision]


def test_a_bank_on_disk_needs_a_folder():
    plan = make_plan(VIEWS, **POSE).within(Room.only("disk"))
    with pytest.raises(InputError, match="needs a folder"):
        new_memory(plan)


def test_a_full_disk_is_known_before_the_first_chunk(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OutputError("the disk is full", where=str(tmp_path))

    monkeypatch.setattr("core.memory.disk_pool.RawFile", full)
    plan = make_plan(VIEWS, **POSE).within(Room.only("disk"))
    with pytest.raises(OutputError, match="the disk is full"):
        new_memory(plan, folder=tmp_path)


@pytest.mark.parametrize("near", [{}, {"sink": 0, "recent": 0}], ids=["read ahead", "just stored"])
def test_a_disk_that_breaks_on_the_way_changes_nothing(near, tmp_path, monkeypatch, caplog):
    """What it refuses stays in memory; the video is the same."""
    plan = make_plan(VIEWS, **POSE | near).within(Room.only("disk"))
    expected = run(VIEWS, plan, new_memory(plan, folder=tmp_path))
    memory = new_memory(plan, folder=tmp_path)
    write, count = memory.bank.disk.pool._file.write, 0

    def breaks(*args):
        nonlocal count
        count += 1
        if count > 3:
            raise OSError(28, "No space left on device")
        return write(*args)

    monkeypatch.setattr(memory.bank.disk.pool._file, "write", breaks)
    assert same(run(VIEWS, plan, memory), expected)
    assert memory.bank.disk.pool.held_bytes > 0
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


def test_a_read_that_fails_is_told(tmp_path, monkeypatch):
    plan = make_plan(VIEWS, **POSE).within(Room.only("disk"))
    memory = new_memory(plan, folder=tmp_path)

    def fails(*_):
        raise OutputError("the bank's rows on disk cannot be read", where=str(tmp_path))

    monkeypatch.setattr(DiskPool, "read", fails)
    with pytest.raises(OutputError, match="cannot be read"):
        run(VIEWS, plan, memory)


def test_waiting_for_the_disk_is_noted(tmp_path, monkeypatch):
    plan = make_plan(VIEWS, **POSE).within(Room.only("disk"))
    memory = new_memory(plan, folder=tmp_path)
    read = DiskPool.read

    def slow(*args):
        time.sleep(0.1)
        return read(*args)

    run(VIEWS, plan, memory)
    quick = memory.waited_ms()
    monkeypatch.setattr(DiskPool, "read", slow)
    memory = new_memory(plan, folder=tmp_path)
    noted = []
    begin = type(memory).begin
    monkeypatch.setattr(
        type(memory), "begin", lambda self, step: (begin(self, step), noted.append(self.waited_ms()))[0]
    )
    run(VIEWS, plan, memory)
    assert max(noted) > 5
    assert quick >= 0
    assert memory.waited_ms() == 0  # noted once


def test_a_slow_disk_holds_writers_back(tmp_path, monkeypatch):
    """No more is on its way than there is room for, and nothing is overwritten before it is written."""
    plan = make_plan(VIEWS, **POSE).within(Room.only("disk"))
    expected = run(VIEWS, plan, new_memory(plan, folder=tmp_path))
    write = DiskPool.write

    def slow(*args):
        time.sleep(0.02)
        return write(*args)

    monkeypatch.setattr(DiskPool, "write", slow)
    memory = new_memory(plan, folder=tmp_path)
    size = memory.bank.host_bytes
    assert size == read_ahead_bytes(plan) + write_behind_bytes(plan)
    assert same(run(VIEWS, plan, memory), expected)
    assert memory.bank.host_bytes == size


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", CASES)
def test_a_gpu_splits_its_bank(name, tmp_path):
    plan = make_plan(VIEWS, **CASES[name])
    gpu = torch.device("cuda")
    expected = run(VIEWS, plan, made(name, plan, tmp_path, device=gpu, ahead=False))
    for _, room in rooms(plan):
        split = plan.within(room)
        assert same(run(VIEWS, split, made(name, split, tmp_path, device=gpu)), expected)
