"""What of SLURM batches can be told without a cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

from core.batch.history import cancel, read_history
from core.batch.loader import Batch
from core.batch.process import ProcessId
from core.batch.slurm import SlurmExecutor
from core.batch.slurm_queue import Entry, look_up, require_slurm
from core.batch.slurm_resources import alike, request_of
from core.batch.slurm_status import is_lost, shown_counts, shown_state
from core.batch.slurm_submissions import Submission, newest_number, read_submissions, slurm_folder
from core.batch.slurm_task import SlurmTask, told_by_slurm
from core.errors import InputError, ModelFilesError, WorldKVError
from tests.core.batch.manifests import load, look, shorts, states
from worldkv_cli.main import app

JOB = "version: 1\njobs: [{{name: one, traj: ./short.yaml, scale: 1, resources: {}}}]\n"


def one(folder: Path, resources: str) -> Batch:
    return load(folder, JOB.format(resources))


def cli(*arguments: str) -> tuple[int, str, list[str]]:
    told = CliRunner().invoke(app, ["batch", *arguments])
    return told.exit_code, told.stdout, told.stderr.splitlines()


@pytest.fixture
def no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")


class TestResources:
    def test_everything(self, tmp_path: Path) -> None:
        batch = one(
            tmp_path,
            "{gpus: 2, cpus: 8, memory: 1.5GiB, time: 1-00:00:30, partition: gpu, account: lab, "
            "sbatch: {constraint: a100, mail_type: END, exclusive: true, requeue: false}}",
        )
        request = request_of(batch.jobs[0])
        assert (request.minutes, request.warn_s) == (1441, 90)
        assert request.parameters == {
            "gpus_per_node": 2,
            "cpus_per_task": 8,
            "srun_args": ["--cpus-per-task=8"],
            "partition": "gpu",
            "account": "lab",
            "time": 1441,
            "signal_delay_s": 90,
            "additional_parameters": {
                "mem": "1536M",
                "constraint": "a100",
                "mail-type": "END",
                "exclusive": True,
            },
        }

    @pytest.mark.parametrize(
        ("resources", "minutes", "warn_s"),
        [
            ("{time: 2m}", 2, 30),
            ("{time: 2h, sbatch: {signal: USR2@300}}", 120, 300),
        ],
    )
    def test_warning(self, tmp_path: Path, resources: str, minutes: int, warn_s: int) -> None:
        request = request_of(one(tmp_path, resources).jobs[0])
        assert (request.minutes, request.warn_s) == (minutes, warn_s)

    @pytest.mark.parametrize(
        ("resources", "problem"),
        [
            ("{gpus: 1}", "SLURM wants a time limit, and one has none"),
            ("{time: 1h, sbatch: {array: 0-3}}", "sbatch's option array is the batch's own matter"),
            ("{time: 1h, sbatch: {signal: TERM@3}}", "the signal must be USR2@SECONDS, got 'TERM@3'"),
        ],
    )
    def test_refused(self, tmp_path: Path, resources: str, problem: str) -> None:
        with pytest.raises(InputError) as told:
            request_of(one(tmp_path, resources).jobs[0])
        assert told.value.problem == problem
        assert "batch.yaml:2:" in told.value.where

    def test_alike(self, tmp_path: Path) -> None:
        batch = load(
            tmp_path,
            "version: 1\nresources: {time: 1h}\ndefaults: {traj: loop}\n"
            "jobs: [{name: a}, {name: b, resources: {gpus: 1}}, {name: c}]\n",
        )
        groups = [[job.name for job in jobs] for _, jobs in alike(batch.jobs)]
        assert groups == [["a", "c"], ["b"]]
        assert [request.minutes for request, _ in alike(batch.jobs, time_s=61)] == [2, 2]


class TestSubmissions:
    def test_newest_id_counts(self, tmp_path: Path) -> None:
        batch = shorts(tmp_path, 2)
        assert read_submissions(batch) == {}
        Submission.begin(batch, ["s0", "s1"]).end({"s0": "5_0", "s1": "5_1"})
        Submission.begin(batch, ["s1"]).end({"s1": "6"})
        assert read_submissions(batch) == {"s0": "5_0", "s1": "6"}
        assert states(batch) == ["waiting", "waiting"]

    def test_two_at_once(self, tmp_path: Path) -> None:
        batch = shorts(tmp_path, 1)
        first = Submission.begin(batch, ["s0"])
        with pytest.raises(InputError, match="somebody else is submitting this batch"):
            Submission.begin(batch, ["s0"])
        first.end({})
        Submission.begin(batch, ["s0"]).end({"s0": "7"})

    def test_one_after_the_other(self, tmp_path: Path) -> None:
        """Who looked before somebody else submitted must look again."""
        batch = shorts(tmp_path, 1)
        seen = newest_number(batch)
        Submission.begin(batch, ["s0"], seen=seen).end({"s0": "7"})
        with pytest.raises(InputError, match="somebody else is submitting this batch"):
            Submission.begin(batch, ["s0"], seen=seen)
        Submission.begin(batch, ["s0"], seen=newest_number(batch)).end({"s0": "8"})
        assert newest_number(batch) == 2

    def test_who_died_blocks_nobody(self, tmp_path: Path) -> None:
        batch = shorts(tmp_path, 1)
        code = (
            "import sys; from pathlib import Path; from core.batch.loader import load_batch\n"
            "from core.batch.slurm_submissions import Submission\n"
            "Submission.begin(load_batch(Path(sys.argv[1])), ['s0'])"
        )
        root = Path(__file__).parents[3]
        subprocess.run([sys.executable, "-c", code, str(batch.path)], check=True, cwd=root)
        assert (slurm_folder(batch) / "1.json").exists()
        Submission.begin(batch, ["s0"]).end({"s0": "8"})
        assert read_submissions(batch) == {"s0": "8"}


class TestStatus:
    @pytest.mark.parametrize(
        ("entry", "shown", "lost"),
        [
            (None, "waiting", False),
            (Entry("1", "PENDING", "Priority"), "queued", False),
            (Entry("1", "PENDING", "BeginTime", 1), "requeued", False),
            (Entry("1", "RUNNING"), "running", False),
            (Entry("1", "TIMEOUT", "TimeLimit"), "waiting", True),
            (Entry("1", ""), "waiting", True),
        ],
    )
    def test_waiting_jobs(self, tmp_path: Path, entry: Entry | None, shown: str, lost: bool) -> None:
        status = look(shorts(tmp_path, 1))[0]
        assert (shown_state(status, entry), is_lost(status, entry)) == (shown, lost)
        counts = shown_counts([status], {"s0": entry} if entry else {})
        assert {state: number for state, number in counts.items() if number} == {shown: 1}

    def test_words(self) -> None:
        assert str(Entry("12_3", "PENDING", "Resources")) == "SLURM 12_3 PENDING (Resources)"
        assert str(Entry("12_3", "")) == "SLURM 12_3"

    def test_where_there_is_no_slurm(self, tmp_path: Path, no_slurm: None) -> None:
        """Status and cancel work on a shared folder from anywhere."""
        batch = shorts(tmp_path, 1)
        Submission.begin(batch, ["s0"]).end({"s0": "5"})
        warning = "SLURM is not installed here: no squeue: what is queued there is shown as waiting"
        assert cli("status", str(batch.path)) == (0, "waiting    s0\n1 waiting\n", [f"warning: {warning}"])
        assert cli("cancel", str(batch.path))[:2] == (0, "1 cancelled\n")

    def test_nothing_is_asked_without_need(self, no_slurm: None) -> None:
        assert look_up([]) == {}


class TestCommands:
    def test_no_slurm(self, tmp_path: Path, no_slurm: None) -> None:
        batch = one(tmp_path, "{time: 1h}")
        with pytest.raises(InputError, match="SLURM is not installed here: no sbatch, srun"):
            require_slurm()
        with pytest.raises(InputError):
            SlurmExecutor().submit(batch, batch.jobs)
        code, stdout, stderr = cli("submit", str(batch.path))
        assert (code, stdout) == (2, "")
        assert stderr[0] == "error: SLURM is not installed here: no sbatch, srun, squeue, scancel"
        assert not slurm_folder(batch).exists()

    def test_no_submitit(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        batch = one(tmp_path, "{time: 1h}")
        monkeypatch.setattr("core.batch.slurm.require_slurm", lambda: None)
        monkeypatch.setattr("core.batch.slurm.max_array_size", lambda: 10)
        monkeypatch.setitem(sys.modules, "submitit", None)
        with pytest.raises(ModelFilesError) as told:
            SlurmExecutor().submit(batch, batch.jobs)
        assert told.value.hint == 'pip install "worldkv[slurm]"'

    def test_two_places_at_once(self, tmp_path: Path) -> None:
        code, _, stderr = cli("retry", str(shorts(tmp_path, 1).path), "-n", "1", "--time", "1h")
        assert (code, stderr[0]) == (2, "error: the options ask for two places at once")

    def test_refused_retry_changes_nothing(self, tmp_path: Path, no_slurm: None) -> None:
        batch = shorts(tmp_path, 1)
        cancel(batch.state / "s0")
        code, _, stderr = cli("retry", str(batch.path), "--time", "1h")
        assert (code, stderr[0].partition(":")[0]) == (2, "error")
        assert states(batch) == ["cancelled"]

    def test_time_that_is_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("core.batch.slurm_queue.require_slurm", lambda: None)
        code, _, stderr = cli("submit", str(shorts(tmp_path, 1).path), "--time", "soon")
        assert (code, stderr[:2]) == (2, ["error: 'soon' is no time", "  at: --time"])


class TestTask:
    def test_signals_reach_us_and_spare_our_children(self) -> None:
        with told_by_slurm() as told:
            child = subprocess.Popen(["sleep", "60"])
            try:
                child.send_signal(signal.SIGUSR2)
                child.send_signal(signal.SIGTERM)
                assert not told
                os.kill(os.getpid(), signal.SIGUSR2)
                until = time.monotonic() + 10
                while not told and time.monotonic() < until:
                    time.sleep(0.01)
                assert (told.warned, told.terminated) == (True, False)
                assert child.poll() is None
            finally:
                child.kill()
                child.wait()
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {signal.SIGUSR2, signal.SIGTERM} == set()

    def test_checkpoint_is_the_task_itself(self) -> None:
        task = SlurmTask(Path("/x/batch.yaml"), "one", 90)
        assert task.checkpoint().function == task

    def test_node_that_failed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its claim looks alive for a while: the task that follows it waits, and then takes over."""
        monkeypatch.setattr("core.batch.slurm_task._LOOK_EVERY_S", 0.1)
        batch = shorts(tmp_path, 1)
        claim = _foreign_claim(batch)
        silent_s = 178.5  # of 180
        os.utime(claim, (time.time() - silent_s,) * 2)
        began = time.monotonic()
        assert SlurmTask(batch.path, "s0", 90)() == "done"
        assert time.monotonic() - began > 1
        assert states(batch) == ["done"]
        assert len(read_history(batch.state / "s0").attempts) == 2

    def test_somebody_else_is_at_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("core.batch.slurm_task._LOOK_EVERY_S", 0.1)
        batch = shorts(tmp_path, 1)
        claim = _foreign_claim(batch)
        os.utime(claim, (time.time() - 20,) * 2)
        beat = subprocess.Popen(["sh", "-c", f"sleep 1; touch '{claim}'"])
        assert SlurmTask(batch.path, "s0", 90)() == "running"
        assert beat.wait() == 0
        assert len(read_history(batch.state / "s0").attempts) == 1

    def test_told_before_it_began(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """While it waits for a lost node's claim: it gives its place back, by submitit's way."""
        monkeypatch.setattr("core.batch.slurm_task._LOOK_EVERY_S", 0.1)
        batch = shorts(tmp_path, 1)
        _foreign_claim(batch)
        submitits: list[int] = []
        before = signal.signal(signal.SIGUSR2, lambda number, _: submitits.append(number))
        kill = subprocess.Popen(["sh", "-c", f"sleep 1; kill -USR2 {os.getpid()}"])
        try:
            assert SlurmTask(batch.path, "s0", 90)() == "running"
        finally:
            signal.signal(signal.SIGUSR2, before)
            kill.wait()
        assert submitits == [signal.SIGUSR2]
        assert len(read_history(batch.state / "s0").attempts) == 1

    def test_failure_is_slurms_failure_too(self, tmp_path: Path) -> None:
        job = "version: 1\nretries: 0\njobs: [{name: one, traj: ./short.yaml, vram_budget: 1MB}]\n"
        with pytest.raises(WorldKVError, match="chunk"):
            SlurmTask(load(tmp_path, job).path, "one", 90)()


def _foreign_claim(batch: Batch) -> Path:
    """A claim of a machine that cannot be seen from here."""
    status = look(batch)[0]
    folder = batch.state / "s0"
    folder.mkdir(parents=True)
    record = {**asdict(ProcessId("elsewhere", "x", 1, "1")), "identity": status.identity, "started_at": "now"}
    (folder / "1.json").write_text(json.dumps(record))
    return folder / "1.json"
