from importlib import metadata
from pathlib import Path

import pytest

from core.batch import check
from core.batch.check import check_jobs
from core.batch.devices import threads_a_worker, worker_devices
from core.calibration import save_calibration
from core.errors import InputError
from core.generate import prepare
from core.hardware import device_info
from core.predicted_times import predict_times
from tests.core.batch.manifests import load
from tests.core.test_calibration import EXACT

MIXED = """\
version: 1
defaults: {scale: 1}
matrix:
  traj: [./look.yaml, ./nothere.yaml]
  seed: 0..2
  mode:
    sink: {memory: sink}
    small: {memory: sink, vram_budget: 1MB}
"""


def test_jobs_that_differ_in_the_seed_share_a_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = []
    plan_of = check.plan_of
    monkeypatch.setattr(check, "plan_of", lambda resolved: planned.append(resolved) or plan_of(resolved))
    batch = load(tmp_path, MIXED)
    found = check_jobs(batch.jobs)
    assert (len(batch.jobs), len(planned), found.num_plans) == (12, 4, 4)
    good = [checked for checked in found.jobs if checked.plan is not None]
    assert [checked.job.name for checked in good] == ["look-s0-sink", "look-s1-sink", "look-s2-sink"]
    plan = good[0].plan
    assert plan is not None
    assert (plan.num_chunks, plan.num_frames, plan.size, plan.device) == (4, 12, (80, 48), "cpu")
    assert plan.device_bytes > 10**7
    assert found.num_frames == 36
    assert found.disk_bytes == 3 * plan.disk_bytes == 3 * (4608 + 10_000)


def test_time_by_the_profile_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None without a profile; with one, what it predicts for every plan."""
    batch = load(tmp_path, MIXED.replace(", ./nothere.yaml", "").replace(", vram_budget: 1MB", ""))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert check_jobs(batch.jobs).seconds is None
    job = prepare(batch.jobs[0].resolved)
    name, version = device_info(job.device).model, metadata.version("torch").partition("+")[0]
    save_calibration(
        EXACT.model_copy(
            update={"model": "mini", "dtype": "float32", "device_name": name, "torch_version": version}
        )
    )
    told = predict_times(EXACT, job.plan, frame_size=(80, 48), passes=4)
    found = check_jobs(batch.jobs)
    assert found.jobs[0].plan is not None
    assert found.jobs[0].plan.seconds == pytest.approx(told.total_s)
    assert found.seconds == pytest.approx(6 * told.total_s)


def test_problems_once_with_their_jobs(tmp_path: Path) -> None:
    batch = load(tmp_path, MIXED)
    found = check_jobs(batch.jobs)
    missing, small = found.problems[1], found.problems[0]
    assert small.where == f"{batch.path}:8:40"
    assert small.jobs == ("look-s0-small", "look-s1-small", "look-s2-small")
    assert "device memory" in small.problem
    assert missing.problem == "no such trajectory file"
    assert missing.where == f"{batch.path}:4:23: {tmp_path / 'nothere.yaml'}"
    assert len(missing.jobs) == 6


@pytest.mark.parametrize(
    ("jobs", "exit_code"),
    [
        ("{name: a, traj: loop}", 0),
        ("{name: a, traj: loop}, {name: b, traj: loop, vram_budget: 1MB}", 3),
        ("{name: a, traj: loop, model: lingbot, image: first.png, checkpoint: nothere}", 4),
        ("{name: a, traj: loop, vram_budget: 1MB}, {name: b, traj: nothere}", 2),
    ],
)
def test_exit_code_is_of_what_must_be_mended_first(tmp_path: Path, jobs: str, exit_code: int) -> None:
    from PIL import Image

    Image.new("RGB", (80, 48)).save(tmp_path / "first.png")
    batch = load(tmp_path, f"version: 1\njobs: [{jobs}]\n")
    assert check_jobs(batch.jobs).exit_code == exit_code


@pytest.mark.slow
def test_several_processes_find_the_same(tmp_path: Path) -> None:
    batch = load(tmp_path, MIXED)
    told: list[tuple[int, int]] = []
    apart = check_jobs(batch.jobs, processes=2, on_plan=lambda done, total: told.append((done, total)))
    assert apart == check_jobs(batch.jobs)
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


class TestDevices:
    def test_round_and_round(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("core.batch.devices.pick_device", lambda _: None)
        found = worker_devices(5, ["cuda:0", "cuda:1"], cpus_a_job=None, num_jobs=100)
        assert found == ("cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:0")

    def test_no_more_workers_than_jobs(self) -> None:
        assert worker_devices(8, ["cpu"], cpus_a_job=None, num_jobs=3) == ("cpu",) * 3

    def test_cores_of_a_job(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("core.batch.devices.num_cpus", lambda: 16)
        assert len(worker_devices(None, ["cpu"], cpus_a_job=4, num_jobs=100)) == 4
        assert len(worker_devices(None, ["cpu"], cpus_a_job=None, num_jobs=100)) == 8
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        assert (threads_a_worker(4), threads_a_worker(4, 2), threads_a_worker(99)) == (4, 2, 1)

    def test_threads_that_the_user_wants(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        assert (threads_a_worker(4), threads_a_worker(4, 2)) == (3, 2)

    def test_device_that_is_not_there(self) -> None:
        with pytest.raises(InputError, match="there is no device cuda:99") as caught:
            worker_devices(1, ["cuda:99"], cpus_a_job=None, num_jobs=1)
        assert caught.value.where == "--devices"
