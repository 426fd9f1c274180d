"""`worldkv bench` as a process of its own: Ctrl-C while its workers begin, and a worker that is killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.core.bench.small import small_file

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are found in /proc")

LAUNCH = "import sys; from worldkv_cli.main import run; sys.argv[0] = 'worldkv'; run()"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A bench of two workers, in a process group of its own."""
    small_file(tmp_path)
    arguments = ["bench", "--suite", "small.yaml", "--out", "out", "--jobs", "2"]
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCH, *arguments],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        yield process
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def workers(process: subprocess.Popen[str]) -> list[int]:
    """Process ids of the workers, once both have been spawned."""
    for _ in range(1200):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        found = [int(child) for child in children if b"spawn_main" in _words(child)]
        if len(found) == 2:
            return found
        time.sleep(0.05)
    raise TimeoutError(process.communicate())


def _words(child: str) -> bytes:
    try:
        return Path(f"/proc/{child}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def test_ctrl_c_while_workers_begin(bench: subprocess.Popen[str]) -> None:
    """The terminal sends it to the whole group: the workers are importing then, and know no handler yet."""
    workers(bench)
    os.killpg(bench.pid, signal.SIGINT)
    _, stderr = bench.communicate(timeout=120)
    assert bench.returncode == 130
    assert stderr == "interrupted: 0 of 7 cells are in out; --out out goes on\n"


def test_a_killed_worker_is_no_bug(bench: subprocess.Popen[str]) -> None:
    os.kill(workers(bench)[0], signal.SIGKILL)
    _, stderr = bench.communicate(timeout=120)
    assert bench.returncode == 1
    assert stderr == (
        "error: a worker process was killed, perhaps for want of memory\n"
        "  at: out\n"
        "hint: what is finished is kept: go on with the same --out; --jobs 1 takes least memory\n"
    )


def test_a_group_that_is_ended_keeps_what_is_finished(bench: subprocess.Popen[str]) -> None:
    workers(bench)
    os.killpg(bench.pid, signal.SIGTERM)
    _, stderr = bench.communicate(timeout=120)
    assert bench.returncode == 130
    assert stderr.startswith("interrupted: 0 of 7 cells")
