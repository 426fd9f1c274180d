"""Batches on a real SLURM of one node; what needs none is in test_slurm_parts.py."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from core.batch.executor import Executor
from core.batch.history import read_history
from core.batch.loader import Batch, load_batch
from core.batch.results import num_chunks_made
from core.batch.slurm import SlurmExecutor
from core.batch.slurm_queue import look_up
from core.batch.slurm_submissions import read_submissions, slurm_folder
from core.errors import WorldKVError
from core.runlog import load_run
from tests.core.batch.manifests import run_here, states, write
from tests.slurm_cluster import Cluster, NoClusterError, cluster
from worldkv_cli.main import app

pytestmark = pytest.mark.slow

LONG = "version: 1\nname: long\nsteps:\n  - turn: {yaw_deg: 300, frames: 200}\n"
"""67 chunks of mini."""
RESOURCES = "resources: {time: 30m, cpus: 1, memory: 100MiB}"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for all tests: each has its own batch."""
    try:
        with cluster(tmp_path_factory.mktemp("slurm")) as made, pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLURM_CONF", str(made.conf))
            patch.setenv("OMP_NUM_THREADS", "1")
            patch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
            yield made
    except NoClusterError as error:
        pytest.skip(f"there can be no SLURM here: {error}")


def batch_of(folder: Path, text: str) -> Batch:
    (folder / "long.yaml").write_text(LONG)
    return load_batch(write(folder, f"version: 1\n{RESOURCES}\n{text}"))


def tell(*arguments: str | Path, exit_code: int = 0) -> dict[str, Any]:
    """What `worldkv batch` says under --json."""
    told = CliRunner().invoke(app, ["batch", *map(str, arguments), "--json"])
    assert told.exit_code == exit_code, told.output
    return json.loads(told.stdout) if told.stdout else {}


def job_states(batch: Batch) -> dict[str, str]:
    """States as `worldkv batch status` has them."""
    return {job["job"]: job["state"] for job in tell("status", batch.path)["jobs"]}


def wait_for(condition: Callable[[], Any], timeout_s: float = 150) -> Any:
    until = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.1)
    return found


def wait_until_ended(batch: Batch, *jobs: str) -> None:
    """Wait until SLURM has nothing more of the jobs, or of the whole batch."""
    ids = read_submissions(batch)
    mine = [ids[job] for job in jobs] if jobs else list(ids.values())
    wait_for(lambda: not any(entry.is_live for entry in look_up(mine).values()))


def wait_until_under_way(batch: Batch, job: str) -> int:
    """Wait until some chunks are made; the number of the process that makes them."""
    folder = {each.name: each.folder for each in batch.jobs}[job]
    wait_for(lambda: num_chunks_made(folder) >= 3)
    newest = read_history(batch.state / job).newest
    assert newest is not None
    return newest.process.pid


def ends(batch: Batch, job: str) -> list[str]:
    attempts = read_history(batch.state / job).attempts
    return [each.end.outcome if each.end is not None else "cut off" for each in attempts]


def test_is_an_executor() -> None:
    assert isinstance(SlurmExecutor(), Executor)


def test_array_with_a_cap(slurm: Cluster, tmp_path: Path) -> None:
    """Twelve good jobs and a bad one, never more than two at once; a second submit adds nothing."""
    batch = batch_of(
        tmp_path,
        "retries: 1\ndefaults: {traj: ./short.yaml, scale: 1}\nmatrix: {seed: 0..11}\n"
        "jobs: [{name: bad, vram_budget: 1MB}]\n",
    )
    told = tell("submit", batch.path, "--parallel", "2", "--no-check")
    arrays = {each.partition("_")[0] for each in told["submitted"].values()}
    assert (len(told["submitted"]), len(arrays)) == (13, 1)
    assert tell("submit", batch.path, "--no-check")["submitted"] == {}
    assert job_states(batch)["s11"] == "queued"
    most = 0
    while any(entry.is_live for entry in look_up(list(told["submitted"].values())).values()):
        running = slurm.ask("squeue", "--noheader", "--array", "--states=running", "--format=%i").split()
        most = max(most, len(running))
        time.sleep(0.1)
    assert most == 2
    found = tell("status", batch.path)
    by_name = {job["job"]: job for job in found["jobs"]}
    assert (found["counts"]["done"], found["counts"]["failed"]) == (12, 1)
    assert all(job["attempts"] == 1 for job in found["jobs"] if job["job"] != "bad")
    assert ends(batch, "bad") == ["failed", "failed"]  # it came back once, in a fresh process
    assert by_name["bad"]["slurm"]["state"] == "FAILED"
    assert by_name["bad"]["failure"]["exit_code"] == 3
    assert "SLURM" in batch.log_of("s0").read_text()
    assert tell("submit", batch.path)["submitted"] == {}  # what has failed is for `retry`


def test_requeued_is_equal_to_undisturbed(slurm: Cluster, tmp_path: Path) -> None:
    """One is requeued by hand, one is preempted with a warning, one is left alone: one video."""
    text = "defaults: {traj: ./long.yaml, scale: 1, seed: 3}\njobs: [{name: by-hand}, {name: warned}]\n"
    batch = batch_of(tmp_path, text)
    tell("submit", batch.path)
    ids = read_submissions(batch)
    wait_until_under_way(batch, "by-hand")
    slurm.ask("scontrol", "requeue", ids["by-hand"])
    wait_until_under_way(batch, "warned")
    slurm.ask("scancel", "--signal=USR2", ids["warned"])
    wait_for(lambda: set(job_states(batch).values()) & {"requeued"})
    (tmp_path / "alone").mkdir()
    alone = batch_of(tmp_path / "alone", text.replace(", {name: warned}", ""))
    run_here(alone)
    wait_until_ended(batch)
    assert states(batch) == ["done", "done"]
    assert [ends(batch, job.name) for job in batch.jobs] == [["interrupted", "done"]] * 2
    video = (alone.jobs[0].folder / "video.mp4").read_bytes()
    assert [(job.folder / "video.mp4").read_bytes() == video for job in batch.jobs] == [True, True]
    assert load_run(batch.jobs[0].folder).totals.chunks == 67


def test_time_limit_and_retry(slurm: Cluster, tmp_path: Path) -> None:
    """SLURM warns a job that is held up, which fails for want of time, and passes with a longer limit."""
    batch = batch_of(tmp_path, "retries: 0\ndefaults: {scale: 1}\njobs: [{name: one, traj: ./long.yaml}]\n")
    tell("submit", batch.path, "--time", "1m")
    pid = wait_until_under_way(batch, "one")
    os.kill(pid, signal.SIGSTOP)  # a node that is too slow, until SLURM wakes the job to warn it
    wait_until_ended(batch)
    found = tell("status", batch.path)["jobs"][0]
    assert (found["state"], ends(batch, "one")) == ("failed", ["failed"])
    assert found["failure"]["problem"].startswith("SLURM's time limit cut it off after ")
    assert found["failure"]["hint"].startswith("give it longer: worldkv batch retry ")
    again = tell("retry", batch.path, "--time", "2:00:00")["submitted"]
    assert slurm.ask("squeue", "--noheader", f"--jobs={again['one']}", "--format=%l").strip() == "2:00:00"
    wait_until_ended(batch)
    assert (job_states(batch), ends(batch, "one")) == ({"one": "done"}, ["failed", "done"])


def test_cancelled_array(slurm: Cluster, tmp_path: Path) -> None:
    """What runs stops after its chunk, what is queued leaves the queue, and `retry` takes it back."""
    batch = batch_of(
        tmp_path, "defaults: {traj: long-patrol, scale: 1, memory: sink}\nmatrix: {seed: 0..3}\n"
    )
    tell("submit", batch.path, "--parallel", "1")
    wait_until_under_way(batch, "s0")
    told = CliRunner().invoke(app, ["batch", "cancel", str(batch.path)])
    assert told.stdout == "4 cancelled, 1 of them stop after their chunk\n"
    wait_until_ended(batch)
    found = tell("status", batch.path)
    assert found["counts"]["cancelled"] == 4
    assert found["jobs"][0]["slurm"]["state"] == "CANCELLED"
    assert ends(batch, "s0") == ["cancelled"]
    assert load_run(batch.jobs[0].folder).status == "interrupted"
    assert set(tell("retry", batch.path, "s3")["submitted"]) == {"s3"}
    assert job_states(batch)["s3"] in ("queued", "running")
    CliRunner().invoke(app, ["batch", "cancel", str(batch.path)])
    wait_until_ended(batch)


def test_killed_by_somebody_else(slurm: Cluster, tmp_path: Path) -> None:
    """A job that was taken out of the queue is nowhere: `retry` finds it."""
    batch = batch_of(tmp_path, "jobs: [{name: one, traj: ./short.yaml, scale: 1}]\n")
    tell("submit", batch.path)
    slurm.ask("scancel", read_submissions(batch)["one"])
    wait_until_ended(batch)
    assert job_states(batch) == {"one": "waiting"}
    tell("retry", batch.path)
    wait_until_ended(batch)
    assert job_states(batch) == {"one": "done"}


def test_arrays_follow_one_another_under_a_cap(slurm: Cluster, tmp_path: Path) -> None:
    """The cluster takes 20 tasks an array; the cap holds for all 21 jobs, and for other resources."""
    batch = batch_of(
        tmp_path,
        "defaults: {traj: ./short.yaml, scale: 1}\nmatrix: {seed: 0..20}\n"
        "jobs: [{name: big, resources: {memory: 200MiB, sbatch: {comment: x}}}]\n",
    )
    ids = SlurmExecutor(parallel=1).submit(batch, batch.jobs)
    arrays = list(dict.fromkeys(each.partition("_")[0] for each in ids.values()))
    told = [slurm.ask("scontrol", "show", "job", each) for each in arrays]
    assert len(arrays) == 3
    assert f"Dependency=afterany:{arrays[0]}" in told[1]
    assert f"Dependency=afterany:{arrays[1]}" in told[2]
    assert "Comment=x" in told[2]
    SlurmExecutor().cancel(list(ids.values()))
    wait_until_ended(batch)


def test_workers_in_a_container(slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sbatch file that ships; in place of Apptainer a script that runs what follows the image."""
    batch = batch_of(tmp_path, "defaults: {traj: ./short.yaml, scale: 1}\nmatrix: {seed: 0..3}\n")
    stub = tmp_path / "bin" / "apptainer"
    stub.parent.mkdir()
    code = "from worldkv_cli.main import run; __name__ == '__main__' and run()"
    text = 'while [ "$1" != worldkv.sif ]; do shift; done; shift'
    stub.write_text(f'#!/bin/bash\n{text}\nexec "{sys.executable}" -c "{code}" "$@"\n')
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stub.parent}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    file = Path(__file__).parents[3] / "containers" / "batch.sbatch"
    smaller = ["--cpus-per-task=1", "--mem=100M", "--gpus-per-node=0"]
    told = slurm.ask("sbatch", "--array=1-2", *smaller, str(file), batch.path.name)
    ids = [f"{told.split()[-1]}_{task}" for task in (1, 2)]
    wait_for(lambda: not any(entry.is_live for entry in look_up(ids).values()))
    assert states(batch) == ["done"] * 4
    assert [entry.state for entry in look_up(ids).values()] == ["COMPLETED"] * 2


def test_refused_by_slurm(slurm: Cluster, tmp_path: Path) -> None:
    batch = batch_of(
        tmp_path,
        "jobs: [{name: one, traj: ./short.yaml, scale: 1, resources: {partition: nowhere}}]\n",
    )
    with pytest.raises(WorldKVError, match=r"SLURM refuses the jobs: .*invalid partition"):
        SlurmExecutor().submit(batch, batch.jobs)
    assert (slurm_folder(batch) / "1.ids.json").read_text() == "{}\n"  # the next submit need not wait
