"""The bank's rows on disk: the same rows come back, from any thread, whatever the disk does."""

import errno
import gc
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InputError, OutputError
from core.memory import raw_file
from core.memory.disk_pool import DiskPool, Stretch, _stretches

LAYERS, BATCH, SLOTS, WORDS = 2, 2, 12, 3
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")


@pytest.fixture
def pool(tmp_path):
    with DiskPool(tmp_path, LAYERS, BATCH, SLOTS, WORDS) as pool:
        yield pool


@pytest.fixture(params=["vectors", "one position"])
def any_system(request, monkeypatch):
    """Systems with positional vector calls, and those without."""
    if request.param == "one position":
        monkeypatch.delattr(os, "pwritev")
        monkeypatch.delattr(os, "preadv")
        monkeypatch.delattr(os, "posix_fadvise", raising=False)


def numbers(*slots):
    return np.array(slots, dtype=np.int64)


def random_rows(count, *, seed=0, batch=BATCH, words=WORDS):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-(2**62), 2**62, (batch, count, words), generator=generator)


def read(pool, layer, slots):
    out = torch.full((pool.batch, len(slots), pool.row_words), -1)
    pool.read(layer, slots, out)
    return out


def refuse(monkeypatch, name, error, *, first_offset=0):
    """Let a system call fail from an offset on, as a disk that broke or filled up would."""
    real, calls = getattr(os, name), []

    def refusing(descriptor, buffers, offset):
        if offset >= first_offset:
            calls.append(offset)
            raise OSError(error, os.strerror(error))
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(os, name, refusing)
    return calls


def run(code, *arguments):
    """The code in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=True
    ).stdout


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_like_a_tensor(data, tmp_path_factory):
    batch, slots = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 9))
    model = torch.zeros((LAYERS, batch, slots, WORDS), dtype=torch.int64)
    with DiskPool(tmp_path_factory.getbasetemp(), LAYERS, batch, slots, WORDS) as pool:
        for seed in range(data.draw(st.integers(1, 6))):
            layer = data.draw(st.integers(0, LAYERS - 1))
            chosen = numbers(*data.draw(st.lists(st.integers(0, slots - 1), unique=True)))
            rows = random_rows(len(chosen), seed=seed, batch=batch)
            pool.write(layer, chosen, rows)
            model[layer][:, chosen] = rows
            wanted = numbers(*data.draw(st.lists(st.integers(0, slots - 1), max_size=12)))
            assert torch.equal(read(pool, layer, wanted), model[layer][:, wanted])
        assert torch.equal(pool.state()["rows"], model)


@pytest.mark.usefixtures("any_system")
@pytest.mark.parametrize("slots", [(3, 4, 5), (5, 4, 3), (0, 11), (7, 8, 2, 3, 4), (6,), ()])
def test_every_system_gives_back_what_it_took(pool, slots):
    rows = random_rows(len(slots))
    pool.write(1, numbers(*slots), rows)
    assert torch.equal(read(pool, 1, numbers(*slots)), rows)
    others = numbers(*sorted(set(range(SLOTS)) - set(slots)))
    assert not read(pool, 1, others).any()
    assert not read(pool, 0, np.arange(SLOTS)).any()


@pytest.mark.usefixtures("any_system")
def test_strided_tensors(pool):
    wide = random_rows(4, words=2 * WORDS)
    pool.write(0, np.arange(4), wide[..., ::2])
    out = torch.zeros((BATCH, 4, 2 * WORDS), dtype=torch.int64)
    pool.read(0, np.arange(4), out[..., ::2])
    assert torch.equal(out[..., ::2], wide[..., ::2])
    assert not out[..., 1::2].any()


@pytest.mark.usefixtures("any_system")
@pytest.mark.parametrize("most", [1, 7, 24, 50])
def test_calls_that_do_less_than_asked(pool, monkeypatch, most):
    """Systems may stop anywhere, in the middle of a number too."""

    def cut(buffers):
        kept, room = [], most
        for buffer in buffers:
            kept.append(buffer[:room])
            room -= len(kept[-1])
        return [buffer for buffer in kept if len(buffer)]

    if hasattr(os, "pwritev"):
        real_write, real_read = os.pwritev, os.preadv
        monkeypatch.setattr(os, "pwritev", lambda fd, buffers, at: real_write(fd, cut(buffers), at))
        monkeypatch.setattr(os, "preadv", lambda fd, buffers, at: real_read(fd, cut(buffers), at))
    else:
        real_plain = os.write
        monkeypatch.setattr(os, "write", lambda fd, buffer: real_plain(fd, cut([buffer])[0]))
    slots = numbers(4, 5, 3, 9, 8)
    pool.write(1, slots, random_rows(5))
    assert torch.equal(read(pool, 1, slots), random_rows(5))


def test_more_pieces_than_a_call_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(raw_file, "MOST_BUFFERS", 3)
    with DiskPool(tmp_path, 1, 1, 50, 1) as pool:
        backwards = np.arange(50)[::-1].copy()
        pool.write(0, backwards, random_rows(50, batch=1, words=1))
        assert torch.equal(read(pool, 0, backwards), random_rows(50, batch=1, words=1))


def test_neighbours_go_in_one_call(pool, monkeypatch):
    real, calls = os.pwritev, []
    monkeypatch.setattr(os, "pwritev", lambda *args: calls.append(args) or real(*args))
    pool.write(0, numbers(2, 3, 4, 1, 8, 9), random_rows(6))
    row = 8 * WORDS
    assert [(offset, [len(buffer) for buffer in buffers]) for _, buffers, offset in calls] == [
        (1 * row, [row, 3 * row]),
        ((SLOTS + 1) * row, [row, 3 * row]),
        (8 * row, [2 * row]),
        ((SLOTS + 8) * row, [2 * row]),
    ]


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="no advice on this system")
def test_scattered_rows_are_announced_before_the_first_is_read(pool, monkeypatch):
    told, real = [], os.preadv

    def refusing(descriptor, offset, length, advice):
        told.append((offset, length, advice))
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))  # only advice: not worth an error

    monkeypatch.setattr(os, "posix_fadvise", refusing)
    monkeypatch.setattr(os, "preadv", lambda *args: told.append("read") or real(*args))
    read(pool, 0, numbers(7, 2, 3))
    row, far = 8 * WORDS, os.POSIX_FADV_WILLNEED
    first = [(2 * row, 2 * row, far), ((SLOTS + 2) * row, 2 * row, far)]
    assert told == [*first, (7 * row, row, far), ((SLOTS + 7) * row, row, far), *4 * ["read"]]
    told.clear()
    read(pool, 0, numbers(2, 3))
    assert told == 2 * ["read"]


def test_stretches():
    def cut(slots, tokens=None):
        return list(
            _stretches(numbers(*slots), np.arange(len(slots)) if tokens is None else numbers(*tokens))
        )

    assert cut([]) == []
    assert cut([5]) == [Stretch(5, [(0, 1)], 1)]
    assert cut([3, 4, 5]) == [Stretch(3, [(0, 3)], 3)]
    assert cut([4, 5, 3]) == [Stretch(3, [(2, 3), (0, 2)], 3)]
    assert cut([8, 3, 4, 7]) == [Stretch(3, [(1, 3)], 2), Stretch(7, [(3, 4), (0, 1)], 2)]
    assert cut([3, 4, 5, 6], [0, 1, 3]) == [Stretch(3, [(0, 2)], 2), Stretch(6, [(3, 4)], 1)]
    assert cut([3, 3]) == [Stretch(3, [(0, 1)], 1), Stretch(3, [(1, 2)], 1)]


def test_snapshot(pool, tmp_path):
    pool.write(0, numbers(1, 5), random_rows(2))
    pool.write(1, numbers(11), random_rows(1, seed=1))
    state = pool.state()
    assert state["rows"].shape == (LAYERS, BATCH, SLOTS, WORDS)
    with DiskPool(tmp_path, LAYERS, BATCH, SLOTS, WORDS) as other:
        other.restore(state)
        other.write(1, numbers(11), random_rows(1, seed=2))  # a snapshot is a copy
        assert torch.equal(read(other, 0, numbers(5, 1)), random_rows(2)[:, [1, 0]])
        assert torch.equal(read(other, 1, numbers(11)), random_rows(1, seed=2))
    assert torch.equal(state["rows"], pool.state()["rows"])
    for layers, slots in ((LAYERS + 1, SLOTS), (LAYERS, SLOTS + 1)):
        with DiskPool(tmp_path, layers, BATCH, slots, WORDS) as other:
            with pytest.raises(InputError, match=r"a snapshot of shape \(2, 2, 12, 3\) in"):
                other.restore(state)
            assert not other.state()["rows"].any()


@pytest.mark.usefixtures("any_system")
def test_a_reader_while_slots_beside_are_written(tmp_path):
    """One thread reads what was written first, over and over; meanwhile all other slots change."""
    slots, rounds = 64, 40
    even, odd = np.arange(0, slots, 2), np.arange(1, slots, 2)
    wrong, ready = [], threading.Event()
    with DiskPool(tmp_path, 1, 1, slots, 512) as pool:
        kept = random_rows(len(even), batch=1, words=512)
        pool.write(0, even, kept)

        def reader():
            ready.set()
            for _ in range(rounds):
                if not torch.equal(read(pool, 0, even), kept):
                    wrong.append("read")

        thread = threading.Thread(target=reader)
        thread.start()
        ready.wait()
        for seed in range(rounds):
            changing = random_rows(len(odd), seed=seed, batch=1, words=512)
            pool.write(0, odd, changing)
            if not torch.equal(read(pool, 0, odd), changing):
                wrong.append("write")
        thread.join()
    assert wrong == []


# A disk that is too small.


def test_a_disk_that_is_too_small_is_known_before_anything_is_written(tmp_path):
    needed = 1 << 60
    with pytest.raises(OutputError, match=r"take 1073741824\.0 GiB, [\d.]+ [GM]iB are free") as caught:
        DiskPool(tmp_path, 1, 1, needed >> 3, 1)
    assert caught.value.where == str(tmp_path)
    assert "--disk-budget" in caught.value.hint
    assert "--out" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_small_disk_is_filled_to_the_brim_and_no_further(tiny_disk):
    with pytest.raises(OutputError, match=r"take 2\.0 MiB, 1\.0 MiB are free: No space left"):
        DiskPool(tiny_disk, 1, 1, 1 << 18, 1)
    first = DiskPool(tiny_disk, 1, 1, 1 << 16, 1)  # the failed try left nothing behind
    with pytest.raises(OutputError, match=r"0\.5 MiB are free"):
        DiskPool(tiny_disk, 1, 1, 3 << 15, 1)
    first.close()
    with DiskPool(tiny_disk, 1, 1, 3 << 15, 1):
        pass


def test_a_limit_on_the_size_of_files(tmp_path):
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from core.errors import OutputError; from core.memory.disk_pool import DiskPool\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "try: DiskPool(Path(sys.argv[1]), 1, 1, 1 << 18, 1)\n"
        "except OutputError as error: print(error.problem)\n"
    )
    assert run(code, tmp_path).startswith("the bank's rows on disk take 2.0 MiB, ")


@pytest.mark.parametrize("known", ["refused", "unknown"])
def test_where_room_cannot_be_reserved_it_must_be_free(tmp_path, monkeypatch, known):
    if known == "unknown":
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    else:

        def refusing(descriptor, offset, length):
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

        monkeypatch.setattr(os, "posix_fallocate", refusing, raising=False)
    with DiskPool(tmp_path, LAYERS, BATCH, SLOTS, WORDS) as pool:
        assert not read(pool, 1, np.arange(SLOTS)).any()
        pool.write(1, numbers(11), random_rows(1))
        assert torch.equal(read(pool, 1, numbers(11)), random_rows(1))
    with pytest.raises(OutputError, match="No space left"):
        DiskPool(tmp_path, 1, 1, shutil.disk_usage(tmp_path).free // 4, 1)  # twice as much


def test_room_is_really_reserved(tmp_path):
    with DiskPool(tmp_path, 1, 1, 1 << 17, 1) as pool:
        assert os.fstat(pool._file._descriptor).st_blocks * 512 >= pool.nbytes == 1 << 20


@pytest.mark.parametrize("folder", ["missing", "file"])
def test_no_folder(tmp_path, folder):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="no file for the bank's rows") as caught:
        DiskPool(tmp_path / folder, 1, 1, 1, 1)
    assert caught.value.where == str(tmp_path / folder)


# A disk that fails later.


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_what_the_disk_refuses_stays_in_memory(pool, monkeypatch, caplog, error):
    on_disk, refused = numbers(0, 1), numbers(4, 5, 9)
    pool.write(0, on_disk, random_rows(2))
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        refuse(patch, "pwritev", error)
        given = random_rows(3, seed=1)
        pool.write(0, refused, given)
        given.zero_()  # the caller's buffer is used again
        assert torch.equal(read(pool, 0, refused), random_rows(3, seed=1))
    assert pool.failures == 2  # 4 and 5 in one call, 9 in another
    assert pool.held_bytes == 3 * BATCH * WORDS * 8
    assert len(caplog.records) == 1
    assert os.strerror(error) in caplog.text
    assert str(pool._file.folder) in caplog.text
    mixed = numbers(9, 1, 4, 0)
    wanted = torch.cat([random_rows(3, seed=1), random_rows(2)], dim=1)[:, [2, 4, 0, 3]]
    assert torch.equal(read(pool, 0, mixed), wanted)
    assert torch.equal(pool.state()["rows"][0][:, mixed], wanted)


def test_a_refused_slot_is_never_tried_again(pool, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        refuse(patch, "pwritev", errno.ENOSPC)
        pool.write(1, numbers(2, 3), random_rows(2))
        tried = refuse(patch, "pwritev", errno.ENOSPC)
        pool.write(1, numbers(3, 2), random_rows(2, seed=1))
        assert tried == []
    held = pool.held_bytes
    pool.write(1, numbers(2, 3, 4), random_rows(3, seed=2))
    assert torch.equal(read(pool, 1, numbers(4, 3, 2)), random_rows(3, seed=2)[:, [2, 1, 0]])
    assert (pool.failures, pool.held_bytes) == (1, held)
    assert len(caplog.records) == 1
    assert not read(pool, 0, numbers(2, 3)).any()  # the same slots of another layer are others


def test_a_disk_that_fails_in_the_second_rollout(pool, monkeypatch):
    refuse(monkeypatch, "pwritev", errno.EIO, first_offset=SLOTS * WORDS * 8)
    pool.write(0, numbers(7), random_rows(1))
    assert torch.equal(read(pool, 0, numbers(7)), random_rows(1))
    assert pool.failures == 1


def test_a_real_limit_hit_in_the_middle_of_a_row(tmp_path):
    """The room was there at first; then the system takes it away, and stops within a write."""
    code = (
        "import resource, sys; from pathlib import Path; import numpy as np, torch\n"
        "from core.memory.disk_pool import DiskPool\n"
        "pool = DiskPool(Path(sys.argv[1]), 1, 1, 8, 4)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "rows = torch.arange(32).view(1, 8, 4)\n"
        "pool.write(0, np.arange(2), rows[:, :2]); print(pool.failures, pool.held_bytes)\n"
        "pool.write(0, np.arange(2, 8), rows[:, 2:]); print(pool.failures, pool.held_bytes)\n"
        "out = torch.zeros_like(rows); pool.read(0, np.arange(8), out); print(torch.equal(out, rows))\n"
    )
    assert run(code, tmp_path).splitlines() == ["0 0", "1 192", "True"]


def test_a_failed_read_says_what_and_where(pool, monkeypatch):
    pool.write(1, numbers(3, 4), random_rows(2))
    refuse(monkeypatch, "preadv", errno.EIO)
    with pytest.raises(OutputError, match="cannot be read back from disk: Input/output error") as caught:
        read(pool, 1, numbers(3, 4))
    assert caught.value.where == f"{pool._file.folder}, layer 1, slots 3 to 4"
    assert caught.value.hint


@pytest.mark.usefixtures("any_system")
def test_a_file_that_somebody_cut_short(pool):
    os.ftruncate(pool._file._descriptor, 10)
    with pytest.raises(OutputError, match="the file ends at byte 10"):
        read(pool, 0, numbers(0))


# Nothing is left behind.


@LINUX
def test_the_file_has_no_name(pool, tmp_path):
    assert list(tmp_path.iterdir()) == []
    assert str(Path(f"/proc/self/fd/{pool._file._descriptor}").readlink()).endswith("(deleted)")


def test_a_killed_process_leaves_nothing(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; import numpy as np, torch\n"
        "from core.memory.disk_pool import DiskPool\n"
        "pool = DiskPool(Path(sys.argv[1]), 1, 1, 8, 4)\n"
        "pool.write(0, np.arange(8), torch.arange(32).view(1, 8, 4))\n"
        "print('written', flush=True); signal.pause()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def named(monkeypatch):
    """A system that does not unlink open files."""
    real, refused = Path.unlink, set()

    def unlink(path, missing_ok=False):
        if path not in refused:
            refused.add(path)
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        real(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)


@pytest.mark.usefixtures("named")
def test_a_file_that_keeps_its_name_is_removed(tmp_path):
    with DiskPool(tmp_path, 1, 1, 4, 1):
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []
    forgotten = DiskPool(tmp_path, 1, 1, 4, 1)
    assert len(list(tmp_path.iterdir())) == 1
    del forgotten
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_closing_gives_the_descriptor_back(tmp_path):
    pool = DiskPool(tmp_path, 1, 1, 4, 1)
    descriptor = pool._file._descriptor
    pool.close()
    pool.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    with open(tmp_path / "other", "wb"):  # may get the same descriptor: nothing must go there
        with pytest.raises(OutputError, match="closed"):
            pool.write(0, numbers(0), random_rows(1, batch=1, words=1))
        with pytest.raises(OutputError, match="closed"):
            read(pool, 0, numbers(0))
    assert (tmp_path / "other").read_bytes() == b""


# Sizes.


def test_nbytes(pool, tmp_path):
    assert pool.nbytes == LAYERS * BATCH * SLOTS * WORDS * 8
    assert (pool.held_bytes, pool.failures) == (0, 0)
    with DiskPool(tmp_path, 3, 1, 0, 5) as empty:
        assert empty.nbytes == 0
        empty.write(2, numbers(), torch.empty((1, 0, 5), dtype=torch.int64))
        assert read(empty, 0, numbers()).shape == (1, 0, 5)
        empty.restore(empty.state())


@pytest.mark.parametrize("slot", [-1, SLOTS])
def test_slots_of_the_neighbours_are_out_of_reach(pool, slot):
    with pytest.raises(InputError, match=f"slots from {slot} to {slot} in a disk pool of 2 layers"):
        pool.write(0, numbers(slot), random_rows(1))
    with pytest.raises(InputError):
        read(pool, 0, numbers(slot))
    assert not pool.state()["rows"].any()


def test_rows_and_layers_that_do_not_fit(pool):
    for rows in (random_rows(1, words=WORDS + 1), random_rows(1, batch=1), random_rows(1).to("meta")):
        with pytest.raises(InputError, match=r"rows of shape \(., 1, .\) on (cpu|meta) for 1 slots"):
            pool.write(0, numbers(1), rows)
        with pytest.raises(InputError, match="rows of shape"):
            pool.read(0, numbers(1), rows)
    for layer in (-1, LAYERS):
        with pytest.raises(InputError, match=f"layer {layer} in"):
            pool.write(layer, numbers(1), random_rows(1))
    with pytest.raises(InputError, match="0 words"):
        DiskPool(pool._file.folder, 1, 1, 1, 0)
