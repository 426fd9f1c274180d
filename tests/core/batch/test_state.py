import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from core.batch.history import End, cancel, read_history, write_end
from core.batch.identity import identity_of_config, identity_of_run
from core.batch.index import Index
from core.batch.loader import Batch
from core.batch.resume import make_room, where_it_goes_on
from core.batch.state import JobStatus, Observer
from core.batch.work import Bench, run_job
from core.errors import BudgetError, InputError
from core.runlog import load_run
from tests.core.batch.manifests import load, look, shorts, states
from tests.core.batch.test_history import claimed, dead_process, somebody_elses


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a batch of two jobs, the first done; to be copied."""
    folder = tmp_path_factory.mktemp("made")
    batch = shorts(folder, 2)
    end = run_job(batch, batch.jobs[0], Bench())
    assert end is not None
    assert end.outcome == "done"
    return folder


@pytest.fixture
def batch(made: Path, tmp_path: Path) -> Batch:
    """The same, to be changed."""
    shutil.copytree(made / "runs", tmp_path / "runs")
    return shorts(tmp_path, 2)


def first(batch: Batch) -> JobStatus:
    return look(batch)[0]


def identity(batch: Batch) -> str:
    return identity_of_config(batch.jobs[0].resolved.config)


class TestIdentity:
    def test_of_a_run_and_of_its_job(self, batch: Batch) -> None:
        """Also in another folder than it was made in: settings and contents count, not paths."""
        assert identity_of_run(load_run(batch.jobs[0].folder)) == identity(batch)

    def test_other_settings_are_another_job(self, batch: Batch) -> None:
        config = batch.jobs[0].resolved.config
        for change in ({"seed": 7}, {"memory": "sink"}, {"scale": 2}, {"keep_ratio": 0.5}):
            assert identity_of_config(config.model_copy(update=change)) != identity(batch)

    def test_where_it_runs_does_not_count(self, batch: Batch) -> None:
        config = batch.jobs[0].resolved.config
        change = {"device": "cuda:3", "vram_budget": 10**9, "ram_budget": 10**9, "overwrite": True}
        assert identity_of_config(config.model_copy(update=change)) == identity(batch)

    def test_contents_of_files_count(self, batch: Batch, tmp_path: Path) -> None:
        before = identity(batch)
        (tmp_path / "short.yaml").write_text("version: 1\nname: short\nsteps:\n  - hold: {frames: 5}\n")
        assert identity(batch) != before

    def test_image(self, tmp_path: Path) -> None:
        from PIL import Image

        Image.new("RGB", (80, 48), "red").save(tmp_path / "first.png")
        batch = load(
            tmp_path,
            "version: 1\njobs: [{name: one, traj: ./short.yaml, image: first.png, scale: 1}]\n",
        )
        run_job(batch, batch.jobs[0], Bench())
        assert states(batch) == ["done"]
        Image.new("RGB", (80, 48), "blue").save(tmp_path / "first.png")
        assert first(batch).note == "was made with other settings"


class TestStates:
    def test_done_and_waiting(self, batch: Batch) -> None:
        assert states(batch) == ["done", "waiting"]

    def test_changed_settings(self, batch: Batch, tmp_path: Path) -> None:
        other = shorts(tmp_path, 2, "retries: 3").jobs[0]
        assert states(shorts(tmp_path, 2, "retries: 3")) == ["done", "waiting"]
        changed = load(
            tmp_path, "version: 1\ndefaults: {traj: ./short.yaml, scale: 2}\nmatrix: {seed: 0..1}\n"
        )
        status = first(replace(changed, out=batch.out))
        assert (status.state, status.note, other.name) == ("waiting", "was made with other settings", "s0")

    def test_killed_run_is_taken_over(self, batch: Batch) -> None:
        job = batch.jobs[0]
        text = (job.folder / "run.json").read_text().replace('"status": "done"', '"status": "running"')
        (job.folder / "run.json").write_text(text)
        attempt = read_history(batch.state / job.name).newest
        assert attempt is not None
        attempt.path.with_suffix(".end.json").unlink()
        assert first(batch).state == "running"  # this process is alive
        record = json.loads(attempt.path.read_text())
        attempt.path.write_text(json.dumps({**record, "pid": dead_process()}))
        status = first(batch)
        assert status.state == "waiting"
        assert status.note.startswith("was cut off on ")
        assert where_it_goes_on(job) == 0

    def test_killed_between_run_log_and_end(self, batch: Batch) -> None:
        """The run folder is the truth: what stands there as done is not made again."""
        shutil.rmtree(batch.state / batch.jobs[0].name)
        assert first(batch).state == "done"
        assert run_job(batch, batch.jobs[0], Bench()) is None

    def test_another_machine(self, batch: Batch) -> None:
        job = batch.jobs[1]
        somebody_elses(claimed(batch.state / job.name, "x"))
        status = look(batch)[1]
        assert (status.state, status.note) == ("running", f"on elsewhere, process {os.getpid()}")
        assert run_job(batch, job, Bench()) is None
        later = Observer(batch, Index.of(batch), stale_s=-1.0).look()[1]
        assert later.state == "waiting"

    def test_failures_and_retries(self, tmp_path: Path) -> None:
        batch = shorts(tmp_path, 1, "retries: 1")
        for expected in ("waiting", "failed"):
            attempt = claimed(batch.state / "s0", identity(batch))
            write_end(attempt, End.now("failed", BudgetError("too big")))
            assert states(batch) == [expected]
        status = first(batch)
        assert status.failure is not None
        assert status.failure.problem == "too big"

    def test_bad_input_is_not_tried_again(self, tmp_path: Path) -> None:
        batch = shorts(tmp_path, 1, "retries: 5")
        attempt = claimed(batch.state / "s0", identity(batch))
        write_end(attempt, End.now("failed", InputError("bad")))
        assert states(batch) == ["failed"]

    def test_cut_off_too_often(self, tmp_path: Path) -> None:
        batch = shorts(tmp_path, 1, "restarts: 1")
        for expected in ("waiting", "failed"):
            attempt = claimed(batch.state / "s0", identity(batch))
            record = json.loads(attempt.path.read_text())
            attempt.path.write_text(json.dumps({**record, "pid": dead_process()}))
            assert states(batch) == [expected]
        failure = first(batch).failure
        assert failure is not None
        assert failure.problem.startswith("the job was cut off 2 times, the last time on ")

    def test_interruptions_do_not_count(self, tmp_path: Path) -> None:
        batch = shorts(tmp_path, 1, "retries: 0\nrestarts: 0")
        for _ in range(3):
            write_end(claimed(batch.state / "s0", identity(batch)), End.now("interrupted"))
        assert (states(batch), first(batch).note) == (["waiting"], "was interrupted")

    def test_cancelled(self, batch: Batch) -> None:
        for job in batch.jobs:
            cancel(batch.state / job.name)
        assert states(batch) == ["done", "cancelled"]

    @pytest.mark.parametrize(
        "text",
        ["", "{", "[]", '{"schema_version": 1}', "\x00" * 100],
        ids=["empty", "torn", "other", "short", "zeros"],
    )
    def test_damaged_run_log(self, batch: Batch, text: str) -> None:
        job = batch.jobs[0]
        (job.folder / "run.json").write_text(text)
        status = first(batch)
        assert (status.state, status.note) == (
            "waiting",
            f"the run log is damaged ({job.folder / 'run.json'})",
        )
        end = run_job(batch, job, Bench())
        assert end is not None
        assert end.outcome == "done"
        assert first(batch).state == "done"
        kept = batch.state / job.name / "damaged-1"
        assert (kept / "run.json").read_text() == text
        assert (kept / "video.mp4").exists()


class TestRoom:
    def test_litter_of_a_killed_process(self, batch: Batch) -> None:
        job = batch.jobs[0]
        for name in (".write-check-abc", ".run.json.abc", ".video.final.mp4"):
            (job.folder / name).write_bytes(bytes(10))
        assert make_room(batch, job) is None
        files = ["chunks.jsonl", "run.json", "video.mp4", "views.jsonl"]
        assert sorted(path.name for path in job.folder.iterdir()) == files

    def test_killed_before_the_run_log(self, batch: Batch) -> None:
        folder = batch.jobs[1].folder
        folder.mkdir()
        (folder / "chunks.jsonl").write_text("")
        end = run_job(batch, batch.jobs[1], Bench())
        assert end is not None
        assert end.outcome == "done"


class TestIndex:
    def test_lines_are_used_and_healed(self, batch: Batch) -> None:
        statuses = Observer(batch, index := Index.of(batch)).look()
        index.write((status.job.name, status.state) for status in statuses)
        lines = [json.loads(line) for line in index.path.read_text().splitlines()]
        assert [(line["job"], line["state"]) for line in lines] == [("s0", "done"), ("s1", "waiting")]
        assert lines[0]["run"]["totals"]["frames"] == 3
        changed = index.path.read_text().replace('"status": "done"', '"status": "failed"')
        index.path.write_text(changed)
        assert Index.of(batch).summary(batch.jobs[0]).status == "failed"  # type: ignore[union-attr]
        assert Index.of(batch, rebuild=True).summary(batch.jobs[0]).status == "done"  # type: ignore[union-attr]
        os.utime(batch.jobs[0].folder / "run.json", (1, 1))
        assert Index.of(batch).summary(batch.jobs[0]).status == "done"  # type: ignore[union-attr]

    def test_lines_of_other_jobs_stay(self, batch: Batch) -> None:
        Index.of(batch).write([("s0", "done"), ("s1", "waiting"), ("gone", "done")])
        Index.of(batch).write([("s1", "failed")], keep_others=True)
        text = (batch.out / "batch.jsonl").read_text().splitlines()
        found = [(line["job"], line["state"]) for line in map(json.loads, text)]
        assert found == [("s1", "failed"), ("s0", "done"), ("gone", "done")]

    @pytest.mark.parametrize(
        "damage", ["", "{\n", '{"job": "s0"}\n', '{"job": "s0", "run": {}, "stamp": 3}\n']
    )
    def test_damaged_index(self, batch: Batch, damage: str) -> None:
        (batch.out / "batch.jsonl").write_text(damage)
        assert [status.state for status in Observer(batch, Index.of(batch)).look()] == ["done", "waiting"]
