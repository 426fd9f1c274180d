import os
import random
import shutil
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest

from core.batch.collect import collect
from core.batch.drive import Drive
from core.batch.events import Ended, Event, Started, WorkerLost
from core.batch.executor import Executor
from core.batch.history import cancel, read_history
from core.batch.index import Index
from core.batch.loader import Batch
from core.batch.local import LocalExecutor
from core.batch.state import JobStatus, Observer, counts
from core.errors import OutputError, WorldKVError
from core.runlog import load_run
from core.video.reader import video_info
from tests.core.batch.manifests import load, look, run_here, shorts, states


def drive(batch: Batch, executor: LocalExecutor, **told: object) -> Drive:
    return Drive(batch, executor, Observer(batch, Index.of(batch)), **told)  # type: ignore[arg-type]


def pid_of(batch: Batch, job: str) -> int:
    attempt = read_history(batch.state / job).newest
    assert attempt is not None
    return attempt.process.pid


def outcomes(batch: Batch) -> Counter[str]:
    """Ends of all attempts; those without one are "cut off"."""
    attempts = [each for job in batch.jobs for each in read_history(batch.state / job.name).attempts]
    return Counter("cut off" if each.end is None else each.end.outcome for each in attempts)


def test_is_an_executor() -> None:
    assert isinstance(LocalExecutor([None], threads=1), Executor)


class TestBatches:
    def test_weights_are_loaded_once_a_worker(self, tmp_path: Path) -> None:
        batch = shorts(tmp_path, 6)
        ended: list[Ended] = []

        def hear(event: Event) -> None:
            if isinstance(event, Ended):
                ended.append(event)

        with LocalExecutor([None, None], threads=1) as executor:
            drive(batch, executor, on_event=hear).run()
        assert sum(event.num_loads for event in ended) == 2
        assert outcomes(batch) == {"done": 6}

    def test_good_and_bad_jobs(self, tmp_path: Path) -> None:
        """One worker for all; what fails does not stop the rest."""
        text = """\
        version: 1
        retries: 0
        defaults: {traj: ./short.yaml, scale: 1}
        jobs:
          - {name: one}
          - {name: big, vram_budget: 1MB}
          - {name: bad, traj: ./nothere.yaml}
          - {name: two, seed: 1}
        """
        batch = load(tmp_path, text)
        statuses = run_here(batch)
        assert [status.state for status in statuses] == ["done", "failed", "failed", "done"]
        assert [status.failure.exit_code for status in statuses if status.failure] == [3, 2]
        log = batch.log_of("big").read_text()
        assert "ERROR" in log
        assert "worker 1" in log
        assert run_here(batch)[1].num_attempts == 1  # what has failed for good is left alone

    def test_worker_that_dies(self, tmp_path: Path) -> None:
        batch = load(tmp_path, "version: 1\njobs: [{name: one, traj: ./look.yaml, scale: 1}]\n")
        events: list[Event] = []

        def hear(event: Event) -> None:
            events.append(event)
            if isinstance(event, Started) and event.attempt == 1:
                os.kill(pid_of(batch, "one"), signal.SIGKILL)

        with LocalExecutor([None], threads=1) as executor:
            statuses = drive(batch, executor, on_event=hear).run()
        assert [status.state for status in statuses] == ["done"]
        assert WorkerLost("one", "killed by SIGKILL") in events
        assert outcomes(batch) == {"cut off": 1, "done": 1}
        assert load_run(batch.jobs[0].folder).totals.chunks == 4

    def test_asked_to_stop(self, tmp_path: Path) -> None:
        batch = load(
            tmp_path,
            "version: 1\ndefaults: {traj: long-patrol, memory: sink, scale: 1}\nmatrix: {seed: 0..2}\n",
        )
        started: list[str] = []

        def hear(event: Event) -> None:
            if isinstance(event, Started):
                started.append(event.job)

        with LocalExecutor([None], threads=1) as executor:
            statuses = drive(batch, executor, on_event=hear).run(stop=lambda: bool(started))
        assert [status.state for status in statuses] == ["waiting", "waiting", "waiting"]
        assert (started, outcomes(batch)) == (["s0"], {"interrupted": 1})
        assert load_run(batch.jobs[0].folder).status == "interrupted"

    def test_cancelled_meanwhile(self, tmp_path: Path) -> None:
        batch = load(
            tmp_path,
            "version: 1\ndefaults: {traj: ./short.yaml, scale: 1}\n"
            "jobs: [{name: long, traj: long-patrol, memory: sink}, {name: short}]\n",
        )

        def hear(event: Event) -> None:
            if isinstance(event, Started) and event.job == "long":
                cancel(batch.state / "long")

        with LocalExecutor([None], threads=1) as executor:
            statuses = drive(batch, executor, on_event=hear).run()
        assert [status.state for status in statuses] == ["cancelled", "done"]

    def test_two_drives_share_the_work(self, tmp_path: Path) -> None:
        batch = shorts(tmp_path, 12)
        ended: list[tuple[int, str]] = []
        results: list[list[JobStatus]] = []

        def one(number: int) -> None:
            def hear(event: Event) -> None:
                if isinstance(event, Ended) and event.end is not None:
                    ended.append((number, event.job))

            with LocalExecutor([None], threads=1) as executor:
                results.append(drive(batch, executor, on_event=hear).run())

        threads = [threading.Thread(target=one, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(job for _, job in ended) == sorted(job.name for job in batch.jobs)  # none twice
        assert {number for number, _ in ended} == {0, 1}
        assert [[status.state for status in each] for each in results] == [["done"] * 12] * 2
        assert outcomes(batch) == {"done": 12}

    def test_phases(self, tmp_path: Path) -> None:
        batch = shorts(tmp_path, 3)
        with LocalExecutor([None], threads=1) as executor:
            ids = executor.submit(batch, batch.jobs)
            assert dict(executor.status([*ids.values(), "other"])) == {
                "s0": "queued",
                "s1": "queued",
                "s2": "queued",
                "other": "ended",
            }
            executor.cancel(["s1"])
            while not executor.is_idle:
                list(executor.events(1.0))
            assert set(executor.status(["s0", "s1", "s2"]).values()) == {"ended"}
        assert states(batch) == ["done", "waiting", "done"]

    def test_workers_that_never_start(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("core.batch.local.work", os._exit)
        monkeypatch.setattr("core.batch.local._MOST_STILLBORN", 1)
        batch = shorts(tmp_path, 1)
        with (
            pytest.raises(WorldKVError, match="2 workers in a row died before they began a job: exit code"),
            LocalExecutor([None], threads=1) as executor,
        ):
            drive(batch, executor).run()


class TestFullDisk:
    def test_stops_and_goes_on_later(self, tiny_disk: Path) -> None:
        """Nothing is lost on a full disk, and no job is blamed for it."""
        batch = shorts(tiny_disk, 4)
        ballast = tiny_disk / "ballast"
        ballast.write_bytes(bytes(shutil.disk_usage(tiny_disk).free - 200_000))
        with LocalExecutor([None], threads=1) as executor:
            driven = drive(batch, executor)
            driven.run()
        assert driven.unwritable is not None
        assert "No space left on device" in driven.unwritable.problem
        ballast.unlink()
        assert set(states(batch)) == {"waiting"}
        # The check before a run wants room for a megabyte of video, which this disk never has.
        assert all(status.failure is None for status in look(batch))

    def test_no_room_for_the_state(self, tiny_disk: Path) -> None:
        batch = shorts(tiny_disk, 2)
        (tiny_disk / "ballast").write_bytes(bytes(shutil.disk_usage(tiny_disk).free))
        with (
            pytest.raises(OutputError, match="the state of the batch cannot be written: No space left"),
            LocalExecutor([None], threads=1) as executor,
        ):
            drive(batch, executor).run()


@pytest.mark.slow
def test_workers_killed_at_random(tmp_path: Path) -> None:
    """200 jobs: all done, none twice, the table complete, whatever was killed and when."""
    batch = shorts(tmp_path, 200, "restarts: 50")
    chance, events, killed = random.Random(7), list[Event](), list[int]()
    over = threading.Event()

    def killer() -> None:
        while not over.wait(chance.uniform(1.0, 3.0)):
            newest = [read_history(batch.state / job.name).newest for job in batch.jobs]
            running = [attempt for attempt in newest if attempt is not None and attempt.end is None]
            pids = [attempt.process.pid for attempt in running if attempt.process.lives]
            if pids and len(killed) < 10:
                killed.append(chance.choice(pids))
                os.kill(killed[-1], signal.SIGKILL)

    thread = threading.Thread(target=killer)
    thread.start()
    try:
        with LocalExecutor([None, None], threads=1) as executor:
            statuses = drive(batch, executor, on_event=events.append).run()
    finally:
        over.set()
        thread.join()
    assert len(killed) >= 3
    assert counts(statuses)["done"] == 200
    assert all(video_info(job.folder / "video.mp4").num_frames == 3 for job in batch.jobs[::20])
    # A job has more than one attempt only if all but the last were killed, and one end at most.
    for job in batch.jobs:
        attempts = read_history(batch.state / job.name).attempts
        assert [a.end.outcome for a in attempts if a.end is not None] in (["done"], [])
        assert all(a.end is None for a in attempts[:-1])
    assert 200 - outcomes(batch)["done"] <= len(killed)  # killed between the run's end and its own
    rows = collect(batch, statuses)
    assert len({row["job"] for row in rows}) == 200
    assert all(row["totals.frames"] == 3 and row["state"] == "done" for row in rows)
    assert sorted(row["config.seed"] for row in rows) == list(range(200))
