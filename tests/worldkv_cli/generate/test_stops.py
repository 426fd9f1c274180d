"""Runs that do not come to their end: what they leave, and what they say."""

import os
import re
import signal
import stat
import subprocess
import textwrap
import time
from pathlib import Path

import pytest

from core.errors import OutputError
from core.runlog import load_run
from core.schemas.run import ChunkRecord
from core.video.ffmpeg import ffmpeg_exe
from core.video.reader import read_video, video_info
from tests.worldkv_cli.generate.runs import generate, log_of, prepared, spawn

LONG = """\
version: 1
name: long
steps:
  - repeat: {times: 19, steps: [{turn: {yaw_deg: 40, frames: 15}}, {turn: {yaw_deg: -40, frames: 15}}]}
  - hold: {frames: 29}
"""
"""600 frames, 200 chunks: many seconds."""


@pytest.fixture
def long(tmp_path: Path) -> Path:
    path = tmp_path / "long.yaml"
    path.write_text(LONG)
    return path


def started(long: Path) -> subprocess.Popen[str]:
    """A run under way, with a tenth of its chunks done."""
    process = spawn("--traj", long, "--out", "run", "--scale", 1)
    assert process.stderr is not None
    while line := process.stderr.readline():
        if line.startswith("chunk 20/200 (10%)"):
            return process
    raise AssertionError(f"it ended: {process.wait()}")


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until_gone(pid: int) -> None:
    for _ in range(400):
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} is still there")


class TestSignals:
    @pytest.mark.slow
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_ends_after_the_current_chunk(self, long: Path, tmp_path: Path, number: int) -> None:
        process = started(long)
        os.killpg(process.pid, number)  # as a terminal does: every process of the group gets it
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130
        log = log_of(tmp_path / "run")
        chunks = len(log.chunks)
        assert (log.status, log.failure, log.totals.chunks) == ("interrupted", None, chunks)
        assert 20 <= chunks < 200
        assert err.splitlines()[-1] == f"interrupted: {chunks} of 200 chunks are in run/video.mp4"
        assert out.startswith(f"run/video.mp4\n  {3 * chunks} frames, 80x48, ")
        info = video_info(tmp_path / "run" / "video.mp4")
        assert (info.num_frames, info.codec) == (3 * chunks, "h264")
        assert len(read_video(tmp_path / "run" / "video.mp4")) == 3 * chunks
        assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
            "chunks.jsonl",
            "run.json",
            "video.mp4",
            "views.jsonl",
        ]

    @pytest.mark.slow
    def test_kill_leaves_what_was_finished(self, long: Path, tmp_path: Path) -> None:
        process = started(long)
        (ffmpeg,) = children_of(process.pid)
        process.kill()
        process.communicate()
        wait_until_gone(ffmpeg)
        log = load_run(tmp_path / "run")
        assert (log.status, log.video) == ("running", None)
        assert len(log.chunks) >= 20
        assert log.chunks[-1].chunk == len(log.chunks) - 1
        pushed = len(read_video(tmp_path / "run" / "video.partial.mp4")) // 3
        assert pushed >= 17  # three pushes may have been under way
        told = generate("--traj", long, "--out", "run")
        assert told.exit_code == 2
        assert told.stderr.startswith("error: the output folder is not empty: chunks.jsonl, run.json, ")
        assert told.stderr.endswith("\nhint: --overwrite replaces an earlier run, or choose another --out\n")

    def test_second_interrupt_stops_at_once(self, look: Path, tmp_path: Path) -> None:
        def twice(record: ChunkRecord) -> None:
            if record.chunk == 2:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
                raise AssertionError("the second interrupt did nothing")

        summary, folder = prepared(traj=str(look), out=tmp_path / "run", scale=1).run(twice)
        assert (summary.status, summary.totals.chunks) == ("interrupted", 3)
        assert log_of(folder).status == "interrupted"
        assert video_info(folder / "video.mp4").num_frames == 9

    def test_interrupt_before_the_first_chunk(
        self, look: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def load(*_: object) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr("core.models.mini.session.MiniSession.load", load)
        told = generate("--traj", look, "--out", "run", "--quiet")
        assert (told.exit_code, told.stdout) == (130, "run\n")
        assert told.stderr == "interrupted: no chunk was finished\n"
        log = log_of(tmp_path / "run")
        assert (log.status, log.chunks, log.video) == ("interrupted", (), None)

    def test_interrupt_in_the_last_chunk_is_too_late(self, look: Path, tmp_path: Path) -> None:
        def last(record: ChunkRecord) -> None:
            if record.chunk == 7:
                os.kill(os.getpid(), signal.SIGINT)

        summary, _ = prepared(traj=str(look), out=tmp_path / "run", scale=1).run(last)
        assert (summary.status, summary.totals.chunks) == ("done", 8)

    def test_handlers_are_put_back(self, look: Path, tmp_path: Path) -> None:
        before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        prepared(traj=str(look), out=tmp_path / "run", scale=1).run()
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


class TestFailures:
    @pytest.mark.slow
    def test_disk_that_fills_up(self, long: Path, tiny_disk: Path) -> None:
        out = tiny_disk / "run"
        told = generate("--traj", long, "--out", out, "--scale", 16, "--quiet")
        assert (told.exit_code, told.stdout) == (1, "")
        # Video and chunk log share the disk: either may be the first to find it full.
        *_, problem, where, hint = told.stderr.splitlines()
        assert re.match(
            r"error: (ffmpeg stopped writing the video|the chunk log cannot be written): ", problem
        )
        assert "No space left on device" in problem
        assert where.startswith(f"  at: {out}/")
        assert hint.startswith("hint: free some space, or choose another --out")
        assert "Traceback" not in told.stderr
        assert len(read_video(out / "video.partial.mp4")) > 0
        log = load_run(out)
        assert log.status in ("failed", "running")  # there may be no room for the news
        assert len(log.chunks) > 0

    def test_full_disk_without_root(
        self, look: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        script = f"""\
            #!/bin/bash
            case "$*" in *partial*) exec {ffmpeg_exe()} "${{@:1:$#-1}}" /dev/full;; esac
            exec {ffmpeg_exe()} "$@"
        """
        fake = tmp_path / "ffmpeg"
        fake.write_text(textwrap.dedent(script))
        fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(fake))
        told = generate("--traj", look, "--out", "run", "--scale", 8, "--quiet")
        assert (told.exit_code, told.stdout) == (1, "")
        assert "No space left on device" in told.stderr
        assert len(told.stderr.splitlines()) == 3
        log = log_of(tmp_path / "run")
        assert log.status == "failed"
        assert log.failure is not None
        assert "No space left on device" in log.failure.problem
        assert log.finished_at is not None

    def test_bug_is_in_the_log(self, look: Path, tmp_path: Path) -> None:
        def fails(record: ChunkRecord) -> None:
            if record.chunk == 1:
                raise ZeroDivisionError("oh")

        with pytest.raises(ZeroDivisionError):
            prepared(traj=str(look), out=tmp_path / "run", scale=1).run(fails)
        log = log_of(tmp_path / "run")
        assert (log.status, log.totals.chunks) == ("failed", 2)
        assert log.failure is not None
        assert log.failure.problem == "ZeroDivisionError: oh"
        assert video_info(tmp_path / "run" / "video.mp4").num_frames == 6

    def test_two_runs_in_one_folder(self, look: Path, tmp_path: Path) -> None:
        told = []

        def meanwhile(record: ChunkRecord) -> None:
            if record.chunk == 0:
                told.append(generate("--traj", look, "--out", "run", "--overwrite", "--quiet"))

        prepared(traj=str(look), out=tmp_path / "run", scale=1).run(meanwhile)
        assert told[0].exit_code == 2
        assert told[0].stderr.startswith("error: another run is writing to this folder\n")
        assert log_of(tmp_path / "run").status == "done"

    def test_input_that_vanishes_meanwhile(self, earlier_run: Path, look: Path, tmp_path: Path) -> None:
        video = tmp_path / "clip.mp4"
        video.write_bytes((earlier_run / "video.mp4").read_bytes())
        job = prepared(traj=str(look), prefix=video, prefix_traj=str(look), out=tmp_path / "run", scale=1)
        summary, _ = job.run(lambda _: video.unlink(missing_ok=True))
        assert (summary.status, summary.inputs["prefix"].path) == ("done", str(video))

    def test_log_that_cannot_be_written(
        self, look: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise OutputError("the chunk log cannot be written: No space left on device", where="x")

        monkeypatch.setattr("core.runlog.ChunkLog.append", full)
        told = generate("--traj", look, "--out", "run", "--quiet", "--scale", 1)
        assert told.exit_code == 1
        assert told.stderr == "error: the chunk log cannot be written: No space left on device\n  at: x\n"
        assert log_of(tmp_path / "run").status == "failed"
