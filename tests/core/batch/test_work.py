import errno
import os
import threading
import time
from pathlib import Path

import pytest

from core.batch.events import Advanced, Event, Started
from core.batch.history import cancel, read_history
from core.batch.loader import Batch
from core.batch.planning import Planner
from core.batch.work import Bench, run_job
from core.errors import OutputError
from core.runlog import load_run
from core.video.reader import video_info
from tests.core.batch.manifests import load, look, shorts, states

LOOK = "version: 1\ndefaults: {traj: ./look.yaml, scale: 1}\nmatrix: {seed: 0..1}\n"


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    """Two jobs of four chunks."""
    return load(tmp_path, LOOK)


def outcome(batch: Batch, index: int = 0, bench: Bench | None = None, **more: object) -> str | None:
    end = run_job(batch, batch.jobs[index], bench or Bench(), **more)  # type: ignore[arg-type]
    return None if end is None else end.outcome


def test_from_claim_to_end(batch: Batch) -> None:
    events: list[Event] = []
    assert outcome(batch, tell=events.append) == "done"
    assert isinstance(events[0], Started)
    assert (events[0].job, events[0].attempt, events[0].first_chunk, events[0].num_chunks) == ("s0", 1, 0, 4)
    assert isinstance(events[1], Advanced)
    assert outcome(batch) is None
    assert (batch.jobs[0].folder / "video.mp4").exists()
    assert load_run(batch.jobs[0].folder).config_sources["seed"] == f"{batch.path}:3:16"


def test_plans_are_shared_between_seeds(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    assert outcome(batch, 0, bench) == "done"
    with monkeypatch.context() as patch:
        patch.setattr("core.batch.planning.prepare", lambda _: pytest.fail("planned again"))
        assert outcome(batch, 1, bench) == "done"
    seeds = [load_run(job.folder).seed for job in batch.jobs]
    assert seeds == [0, 1]
    alone = Planner().prepare(batch.jobs[1].in_folder())
    assert alone.plan.summary() == bench.planner.prepare(batch.jobs[1].in_folder()).plan.summary()


def test_shared_plan_makes_the_same_video(batch: Batch, tmp_path: Path) -> None:
    bench = Bench()
    outcome(batch, 0, bench)
    outcome(batch, 1, bench)
    (tmp_path / "alone").mkdir()
    alone = load(tmp_path / "alone", LOOK)
    outcome(alone, 1)
    assert (batch.jobs[1].folder / "video.mp4").read_bytes() == (
        alone.jobs[1].folder / "video.mp4"
    ).read_bytes()
    assert (batch.jobs[0].folder / "video.mp4").read_bytes() != (
        batch.jobs[1].folder / "video.mp4"
    ).read_bytes()


def test_asked_to_stop(batch: Batch) -> None:
    seen: list[Event] = []
    assert outcome(batch, tell=seen.append, stop=lambda: len(seen) > 1) == "interrupted"
    log = load_run(batch.jobs[0].folder)
    assert (log.status, log.totals.chunks) == ("interrupted", 1)
    assert video_info(batch.jobs[0].folder / "video.mp4").num_frames == 3
    assert outcome(batch) == "done"  # again, in its own folder
    assert load_run(batch.jobs[0].folder).totals.chunks == 4


def test_cancelled_meanwhile(batch: Batch) -> None:
    def tell(event: Event) -> None:
        if isinstance(event, Started):
            cancel(batch.state / event.job)

    assert outcome(batch, tell=tell) == "cancelled"
    assert states(batch) == ["cancelled", "waiting"]
    assert outcome(batch) is None


def test_settings_that_only_a_run_finds_wrong(tmp_path: Path) -> None:
    batch = load(
        tmp_path,
        "version: 1\njobs: [{name: one, traj: ./short.yaml, vram_budget: 1MB}, {name: two, traj: x.yaml}]\n",
    )
    assert (outcome(batch, 0), outcome(batch, 1)) == ("failed", "failed")
    one, two = look(batch)
    assert one.failure is not None
    assert (one.state, one.failure.exit_code) == ("waiting", 3)  # memory may be free another time
    assert two.failure is not None
    assert (two.state, two.failure.problem) == ("failed", "no such trajectory file")


def test_bug(batch: Batch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("core.models.mini.session.MiniSession.load", fails)
    assert outcome(batch) == "failed"
    failure = look(batch)[0].failure
    assert failure is not None
    assert failure.problem == "ZeroDivisionError: oh"
    assert "Traceback" in caplog.text


def test_full_disk_is_not_the_jobs_fault(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise OutputError("the chunk log cannot be written: No space left", where="x") from error

    monkeypatch.setattr("core.runlog.ChunkLog.append", full)
    assert outcome(batch) == "unwritable"
    status = look(batch)[0]
    assert (status.state, status.note, status.failure) == ("waiting", "the disk was full", None)


def test_lost_job(batch: Batch) -> None:
    """Somebody took over while this process slept: it is told, and would leave at once."""
    lost = threading.Event()

    def tell(event: Event) -> None:
        if isinstance(event, Started):
            attempt = read_history(batch.state / "s0").claim("x")
            assert attempt is not None
            assert lost.wait(5)

    bench = Bench(heartbeat_s=0.01, on_lost=lost.set)
    began = time.monotonic()
    outcome(batch, bench=bench, tell=tell)
    assert lost.is_set()
    assert time.monotonic() - began < 5


def test_device_of_the_worker(tmp_path: Path) -> None:
    batch = load(
        tmp_path,
        "version: 1\njobs: [{name: one, traj: loop}, {name: two, traj: loop, device: 'cuda:1'}]\n",
    )
    assert [job.in_folder("cuda:3").config.device for job in batch.jobs] == ["cuda:3", "cuda:1"]


def test_state_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = shorts(tmp_path, 1)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("core.batch.exclusive.tempfile.TemporaryFile", full)
    with pytest.raises(OutputError, match="the state of the batch cannot be written"):
        run_job(batch, batch.jobs[0], Bench())
