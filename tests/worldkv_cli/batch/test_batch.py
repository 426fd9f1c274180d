import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from core.batch.history import read_history
from core.batch.loader import load_batch
from tests.core.batch.manifests import states, write
from worldkv_cli.main import app

GOOD = """\
version: 1
defaults: {traj: ./short.yaml, scale: 1}
matrix: {seed: 0..2}
"""
LONG = """\
version: 1
defaults: {traj: long-patrol, scale: 1, memory: sink}
matrix: {seed: 0..3}
"""


@dataclass(frozen=True)
class Told:
    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.stdout)  # type: ignore[no-any-return]


def batch(*arguments: str | Path) -> Told:
    """`worldkv batch`, in this process."""
    done = CliRunner().invoke(app, ["batch", *map(str, arguments)])
    return Told(done.exit_code, done.stdout, done.stderr)


def spawn(*arguments: str | Path) -> subprocess.Popen[str]:
    """`worldkv batch` in a process of its own."""
    code = "from worldkv_cli.main import run\nif __name__ == '__main__':\n    run()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "batch", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def wait_for(condition: Any) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.05)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """Three jobs of one chunk."""
    return write(tmp_path, GOOD)


class TestCheck:
    def test_table(self, good: Path) -> None:
        told = batch("check", "batch.yaml")
        assert (told.exit_code, told.stderr) == (0, "")
        lines = told.stdout.splitlines()
        assert lines[0].split() == ["job", "chunks", "frames", "size", "device", "host"]
        assert lines[1].split()[:4] == ["s0", "1", "3", "80x48"]
        assert lines[-1] == f"3 jobs from 1 plan, 9 frames, about 11 kB in {good.parent / 'runs' / 'batch'}"
        assert not (good.parent / "runs").exists()

    def test_json(self, good: Path) -> None:
        told = batch("check", good, "--json").json
        assert (told["ok"], told["num_jobs"], told["num_plans"], told["num_frames"]) == (True, 3, 1, 9)
        assert told["jobs"][0]["plan"]["size"] == [80, 48]
        assert told["problems"] == []

    def test_everything_wrong_with_the_text(self, tmp_path: Path) -> None:
        write(tmp_path, "version: 1\ndefaults: {sed: 1, scale: x}\njobs: [{name: a, traj: loop}]\n")
        told = batch("check", "batch.yaml")
        assert (told.exit_code, told.stdout) == (2, "")
        assert told.stderr.splitlines() == [
            "error: 1 of 2: unknown key 'sed'",
            "  at: batch.yaml:2:12",
            "hint: did you mean seed?",
            "error: 2 of 2: scale must be a whole number, got 'x'",
            "  at: batch.yaml:2:27",
            "hint: scale: enlargement of the frames in the MP4",
        ]
        told = batch("check", "batch.yaml", "--json")
        assert (told.exit_code, [p["where"] for p in told.json["problems"]]) == (
            2,
            ["batch.yaml:2:12", "batch.yaml:2:27"],
        )

    @pytest.mark.parametrize(
        ("job", "exit_code", "problem"),
        [
            ("traj: ./nothere.yaml", 2, "error: no such trajectory file (a)"),
            ("traj: loop, vram_budget: 1MB", 3, "error: 47 chunks need "),
            (
                "traj: loop, model: matrix-game, image: first.png, checkpoint: nothere",
                4,
                "error: no weights of matrix-game's variant universal were found (a)",
            ),
        ],
    )
    def test_exit_codes(self, tmp_path: Path, job: str, exit_code: int, problem: str) -> None:
        from PIL import Image

        Image.new("RGB", (80, 48)).save("first.png")
        write(tmp_path, f"version: 1\njobs: [{{name: a, {job}}}]\n")
        told = batch("check", "batch.yaml")
        assert told.exit_code == exit_code
        assert told.stderr.startswith(problem)
        assert told.stdout.splitlines()[-1].endswith("; 1 cannot run")

    def test_schema(self) -> None:
        assert batch("schema").json["properties"]["matrix"]["anyOf"][0] == {"$ref": "#/$defs/Matrix"}


class TestRun:
    def test_run_status_collect(self, good: Path) -> None:
        told = batch("run", "batch.yaml", "-n", "1")
        out = good.parent / "runs" / "batch"
        assert (told.exit_code, told.stdout) == (0, f"{out}\n  3 done\n")
        assert [line.split(" (")[0] for line in told.stderr.splitlines()] == [
            "done 1/3: s0",
            "done 2/3: s1",
            "done 3/3: s2",
        ]
        again = batch("run", "batch.yaml", "--json")
        assert (again.exit_code, again.stderr, again.json["counts"]["done"]) == (0, "", 3)
        assert [job["attempts"] for job in again.json["jobs"]] == [1, 1, 1]
        assert batch("status", "batch.yaml").stdout == "3 done\n"
        (out / "batch.jsonl").unlink()
        assert batch("status", "batch.yaml", "--rebuild", "--json").json["counts"]["done"] == 3
        assert len((out / "batch.jsonl").read_text().splitlines()) == 3
        table = batch("collect", "batch.yaml").stdout.splitlines()
        assert (len(table), table[0].split(",")[:3]) == (4, ["job", "state", "seed"])
        told = batch("collect", "batch.yaml", "--to", "runs.json", "--sheet", "sheet.png", "--frames", "0,2")
        assert told.stdout == "runs.json\n  3 jobs: 3 done\nsheet.png\n"
        assert [row["totals.frames"] for row in json.loads(Path("runs.json").read_text())] == [3, 3, 3]
        assert Path("sheet.png").stat().st_size > 0
        assert batch("collect", "batch.yaml", "--frames", "x").exit_code == 2

    def test_failures_in_a_table(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A budget that is short on the day: the check has passed, the job fails and is tried again."""
        write(tmp_path, GOOD.replace("version: 1", "version: 1\nretries: 0"))
        budget = "jobs: [{name: big, traj: ./short.yaml, vram_budget: 1MB}]\n"
        (tmp_path / "batch.yaml").write_text((tmp_path / "batch.yaml").read_text() + budget)
        monkeypatch.setattr("worldkv_cli.commands.batch_run._Runner._check", lambda *_: None)
        told = batch("run", "batch.yaml", "-n", "1", "-q")
        log = tmp_path / "runs" / "batch" / "logs" / "big.log"
        assert told.exit_code == 1
        assert told.stdout.endswith("  3 done, 1 failed\n")
        problem, where, hint = told.stderr.splitlines()
        assert problem.startswith("error: big: 1 chunk")
        assert where == f"  at: --vram-budget, log: {log}"
        assert hint.startswith("hint: ")
        assert batch("status", "batch.yaml").stdout.splitlines()[0].startswith("failed     big  1 chunk")
        told = batch("retry", "batch.yaml", "-n", "1", "--json")
        assert (told.exit_code, told.json["counts"]["failed"], told.json["jobs"][0]["attempts"]) == (1, 1, 2)

    def test_nothing_starts_if_one_job_cannot_run(self, tmp_path: Path) -> None:
        write(tmp_path, GOOD + "jobs: [{name: bad, traj: ./nothere.yaml}]\n")
        told = batch("run", "batch.yaml")
        assert (told.exit_code, told.stdout) == (2, "")
        assert told.stderr.startswith("error: no such trajectory file (bad)\n  at: batch.yaml:4:26: ")
        assert set(states(load_batch(tmp_path / "batch.yaml"))) == {"waiting"}
        told = batch("run", "batch.yaml", "s0", "-q")  # but what can run may be named
        assert told.stdout.endswith("  1 done\n")

    def test_settings_of_the_environment(self, good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WORLDKV_SEED", "3")
        told = batch("run", "batch.yaml", "s1", "-q")
        assert (
            told.stderr
            == "warning: WORLDKV_SEED has no effect: a batch takes its settings from the manifest\n"
        )

    def test_changed_settings(self, good: Path) -> None:
        batch("run", "batch.yaml", "s1", "-q")
        good.write_text(GOOD.replace("scale: 1", "scale: 2"))
        assert "s1  was made with other settings" in batch("status", "batch.yaml").stdout
        told = batch("run", "batch.yaml", "s1", "-q")
        assert told.stderr == "warning: 1 job was made with other settings and will be replaced: s1, ...\n"
        assert told.exit_code == 0

    def test_cancel_and_retry(self, good: Path) -> None:
        assert batch("cancel", "batch.yaml", "s1", "s2").stdout == "2 cancelled\n"
        told = batch("run", "batch.yaml", "-n", "1", "-q")
        assert (told.exit_code, told.stdout.splitlines()[1]) == (0, "  1 done, 2 cancelled")
        told = batch("retry", "batch.yaml", "s2", "-n", "1", "-q")
        assert (told.exit_code, told.stdout.splitlines()[1]) == (0, "  1 done")
        assert states(load_batch(good)) == ["done", "cancelled", "done"]
        told = batch("retry", "batch.yaml", "s2")
        assert (told.exit_code, told.stderr.splitlines()[0]) == (
            2,
            "error: no job has failed or was cancelled",
        )

    def test_status_of_a_job_that_runs(self, good: Path) -> None:
        loaded = load_batch(good)
        assert read_history(loaded.state / "s1").claim("x") is not None
        loaded.jobs[1].folder.mkdir()
        (loaded.jobs[1].folder / "chunks.jsonl").write_text('{}\n{}\n{"torn')
        lines = batch("status", "batch.yaml").stdout.splitlines()
        assert lines[0] == "waiting    s0"
        assert lines[1].startswith("running    s1  on ")
        assert lines[1].endswith(f"process {os.getpid()}, 2 chunks")
        assert lines[3] == "2 waiting, 1 running"

    def test_unknown_job(self, good: Path) -> None:
        told = batch("status", "batch.yaml", "s7")
        assert (told.exit_code, told.stderr.splitlines()[0]) == (2, "error: the batch has no job 's7'")


@pytest.mark.slow
class TestProcesses:
    def test_two_runs_at_once(self, tmp_path: Path) -> None:
        path = write(tmp_path, GOOD.replace("0..2", "0..11"))
        runs = [spawn("run", path, "-n", "1") for _ in range(2)]
        told = [run.communicate(timeout=120) for run in runs]
        assert [run.returncode for run in runs] == [0, 0], told
        assert all("12 done" in stdout for stdout, _ in told)
        loaded = load_batch(path)
        histories = [read_history(loaded.state / job.name) for job in loaded.jobs]
        assert [len(history.attempts) for history in histories] == [1] * 12
        pids = Counter(history.attempts[0].process.pid for history in histories)
        assert len(pids) == 2

    def test_interrupted(self, tmp_path: Path) -> None:
        path = write(tmp_path, LONG)
        process = spawn("run", path, "-n", "1")
        wait_for(lambda: list((tmp_path / "runs" / "batch" / "s0").glob("video.partial.mp4")))
        os.kill(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 130, stderr
        assert stderr.splitlines()[-1] == "interrupted: 4 waiting; run it again to go on"
        assert "Traceback" not in stderr
        status = json.loads((tmp_path / "runs" / "batch" / "s0" / "run.json").read_text())["status"]
        assert status == "interrupted"

    def test_whoever_started_it_is_killed(self, tmp_path: Path) -> None:
        """Its worker stops after a chunk, and the next run takes over."""
        path = write(tmp_path, LONG)
        process = spawn("run", path, "-n", "1")
        wait_for(lambda: list((tmp_path / "runs" / "batch" / "s0").glob("video.partial.mp4")))
        process.kill()
        process.communicate()
        loaded = load_batch(path)
        wait_for(lambda: states(loaded)[0] == "waiting")
        assert read_history(loaded.state / "s0").attempts[0].end is not None
