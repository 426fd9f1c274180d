import errno
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from core.batch import exclusive
from core.batch.exclusive import create_exclusively, folder_time
from core.batch.heartbeat import Heartbeat
from core.batch.history import (
    STALE_S,
    Attempt,
    End,
    cancel,
    forgive,
    is_superseded,
    read_history,
    write_end,
)
from core.batch.process import ProcessId
from core.errors import InputError, OutputError


def claimed(folder: Path, identity: str = "x") -> Attempt:
    attempt = read_history(folder).claim(identity)
    assert attempt is not None
    return attempt


def somebody_elses(attempt: Attempt, *, host: str = "elsewhere") -> None:
    """Let a claim be one of another machine."""
    record = json.loads(attempt.path.read_text())
    attempt.path.write_text(json.dumps({**record, "host": host}))


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def race(folder: Path, barrier: threading.Barrier, won: list[int]) -> None:
    history = read_history(folder)
    barrier.wait()
    for _ in range(20):
        attempt = history.claim("x")
        if attempt is not None:
            won.append(attempt.number)
        history = read_history(folder)


class TestClaims:
    def test_first_and_second(self, tmp_path: Path) -> None:
        before = read_history(tmp_path / "job")
        assert before.newest is None
        mine = claimed(tmp_path / "job")
        assert mine.number == 1
        assert before.claim("x") is None
        found = read_history(tmp_path / "job").newest
        assert found is not None
        assert (found.process, found.identity, found.end) == (ProcessId.mine(), "x", None)
        assert found.lives(found.beat)

    def test_many_at_once(self, tmp_path: Path) -> None:
        """Of all that see the same history, one gets the next number, every time."""
        barrier, won = threading.Barrier(8), list[int]()
        racers = [threading.Thread(target=race, args=(tmp_path / "job", barrier, won)) for _ in range(8)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        assert sorted(won) == list(range(1, len(won) + 1))
        assert len(won) >= 20

    def test_without_hard_links(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuses(*_: object) -> None:
            raise OSError(errno.EPERM, "no links here")

        monkeypatch.setattr(os, "link", refuses)
        assert create_exclusively(tmp_path / "a", "text")
        assert not create_exclusively(tmp_path / "a", "other")
        assert (tmp_path / "a").read_text() == "text"

    def test_answer_that_gets_lost(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """NFS may make a link and then say that it exists: the request was sent twice."""
        link = os.link

        def answers_late(source: Path, target: Path) -> None:
            link(source, target)
            raise FileExistsError(errno.EEXIST, "exists", str(target))

        monkeypatch.setattr(os, "link", answers_late)
        assert create_exclusively(tmp_path / "a", "text")

    def test_leaves_nothing_but_the_file(self, tmp_path: Path) -> None:
        create_exclusively(tmp_path / "a", "text")
        create_exclusively(tmp_path / "a", "text")
        assert [path.name for path in tmp_path.iterdir()] == ["a"]

    def test_full_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(exclusive.tempfile, "mkstemp", full)
        with pytest.raises(OutputError, match="the state of the batch cannot be written: No space left"):
            read_history(tmp_path / "job").claim("x")


class TestLife:
    def test_dead_process_of_this_machine(self, tmp_path: Path) -> None:
        attempt = claimed(tmp_path / "job")
        gone = replace(attempt, process=replace(attempt.process, pid=dead_process()))
        assert not gone.lives(attempt.beat)

    def test_number_that_is_used_again(self, tmp_path: Path) -> None:
        attempt = claimed(tmp_path / "job")
        assert not replace(attempt, process=replace(attempt.process, started="1")).lives(attempt.beat)

    def test_process_of_this_machine_needs_no_heartbeat(self, tmp_path: Path) -> None:
        attempt = claimed(tmp_path / "job")
        assert attempt.lives(attempt.beat + 10 * STALE_S)

    def test_another_machine_lives_by_its_heartbeat(self, tmp_path: Path) -> None:
        somebody_elses(claimed(tmp_path / "job"))
        other = read_history(tmp_path / "job").newest
        assert other is not None
        assert other.lives(other.beat + STALE_S - 1)
        assert not other.lives(other.beat + STALE_S + 1)

    def test_another_container_of_the_same_name_is_another_machine(self) -> None:
        mine = ProcessId.mine()
        assert mine.is_near
        assert not replace(mine, space="another boot").is_near

    def test_damaged_claim_lives_while_it_is_young(self, tmp_path: Path) -> None:
        attempt = claimed(tmp_path / "job")
        attempt.path.write_text("{")
        found = read_history(tmp_path / "job").newest
        assert found is not None
        assert found.lives(found.beat + 1)
        assert not found.lives(found.beat + STALE_S + 1)

    def test_time_is_the_file_systems(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("")
        assert abs(folder_time(tmp_path) - (tmp_path / "a").stat().st_mtime) < 5
        assert [path.name for path in tmp_path.iterdir()] == ["a"]


class TestHeartbeat:
    def test_beats(self, tmp_path: Path) -> None:
        attempt = claimed(tmp_path / "job")
        os.utime(attempt.path, (1, 1))
        with Heartbeat(attempt, on_lost=lambda: None, every_s=0.01):
            until = time.monotonic() + 5
            while attempt.path.stat().st_mtime < 2 and time.monotonic() < until:
                time.sleep(0.01)
        assert attempt.path.stat().st_mtime > 2

    @pytest.mark.parametrize("how", ["taken over", "removed"])
    def test_notices_that_it_lost_the_job(self, tmp_path: Path, how: str) -> None:
        attempt, lost = claimed(tmp_path / "job"), threading.Event()
        if how == "taken over":
            assert claimed(tmp_path / "job").number == 2
            assert is_superseded(attempt)
        else:
            attempt.path.unlink()
        with Heartbeat(attempt, on_lost=lost.set, every_s=0.01):
            assert lost.wait(5)


class TestEnds:
    def test_round_trip(self, tmp_path: Path) -> None:
        attempt = claimed(tmp_path / "job")
        end = End.now("failed", InputError("bad", where="there", hint="mend"))
        write_end(attempt, end)
        found = read_history(tmp_path / "job").newest
        assert found is not None
        assert found.end == end
        assert (end.problem, end.where, end.hint, end.exit_code) == ("bad", "there", "mend", 2)
        assert not found.lives(found.beat)

    def test_bug(self) -> None:
        end = End.now("failed", ZeroDivisionError("oh"))
        assert (end.problem, end.exit_code, end.is_final) == ("ZeroDivisionError: oh", 1, False)

    def test_bad_input_is_final(self) -> None:
        assert End.now("failed", InputError("bad")).is_final

    def test_damaged_end_still_ended(self, tmp_path: Path) -> None:
        attempt = claimed(tmp_path / "job")
        attempt.path.with_suffix(".end.json").write_text("{")
        found = read_history(tmp_path / "job").newest
        assert found is not None
        assert found.end is not None
        assert found.end.outcome == "interrupted"

    def test_forgiving(self, tmp_path: Path) -> None:
        write_end(claimed(tmp_path / "job"), End.now("failed", InputError("bad")))
        cancel(tmp_path / "job")
        assert read_history(tmp_path / "job").cancelled
        forgive(read_history(tmp_path / "job"))
        history = read_history(tmp_path / "job")
        assert (history.cancelled, history.counted("x"), len(history.attempts)) == (False, (), 1)
        claimed(tmp_path / "job")
        assert [a.number for a in read_history(tmp_path / "job").counted("x")] == [2]

    def test_attempts_at_other_settings_do_not_count(self, tmp_path: Path) -> None:
        write_end(claimed(tmp_path / "job", "old"), End.now("failed", InputError("bad")))
        assert read_history(tmp_path / "job").counted("new") == ()
