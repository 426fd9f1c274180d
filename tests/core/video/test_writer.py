import os
import re
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from core.errors import InputError, OutputError
from core.video.ffmpeg import ffmpeg_exe
from core.video.reader import read_video, video_info
from core.video.writer import Mp4Writer, write_check

NOISE_WRITER = """
import signal, sys, time
from pathlib import Path
import numpy as np
from core.video.writer import Mp4Writer

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs in the background
rng = np.random.default_rng(0)
with Mp4Writer(Path(sys.argv[1]), 64, 48, 16.0, overwrite=False) as writer:
    while True:
        writer.push(rng.integers(0, 256, (12, 48, 64, 3), dtype=np.uint8))
        print(writer.frames_written, flush=True)
        time.sleep(0.01)
"""


def start_noise_writer(path: Path, *, at_least_frames: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", NOISE_WRITER, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    while int(process.stdout.readline()) < at_least_frames:
        pass
    return process


def push_all(path: Path, frames: np.ndarray, *, times: int = 1, error: BaseException | None = None) -> None:
    """Make a video of `frames`, then fail with `error` if there is one."""
    height, width = frames.shape[1:3]
    with Mp4Writer(path, width, height, 16.0, overwrite=False) as writer:
        for _ in range(times):
            writer.push(frames)
        if error is not None:
            raise error


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until_gone(pid: int) -> None:
    for _ in range(200):
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} is still there")


def wrapper(path: Path, script: str) -> Path:
    """An ffmpeg that does something else, as a shell script around the real one."""
    path.write_text(f'#!/bin/bash\nreal="{ffmpeg_exe()}"\n{textwrap.dedent(script)}')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_makes_the_video_that_was_pushed(tmp_path: Path, frames: np.ndarray) -> None:
    path = tmp_path / "video.mp4"
    with Mp4Writer(path, 64, 48, 16.0, overwrite=False) as writer:
        for start in range(0, 40, 12):
            writer.push(frames[start : start + 12])
        info = writer.close()
    assert writer.frames_written == 40
    assert info == video_info(path)
    assert (info.width, info.height, info.fps, info.num_frames) == (64, 48, 16.0, 40)
    assert (info.codec, info.pix_fmt, info.duration_s) == ("h264", "yuv420p", 2.5)
    assert names_in(tmp_path) == ["video.mp4"]
    read = read_video(path)
    assert read.shape == frames.shape
    assert np.abs(read.astype(int) - frames).mean() < 6  # chroma is stored at half size


def test_colours_survive_the_trip_through_bt709(tmp_path: Path) -> None:
    colours = np.random.default_rng(1).integers(0, 256, (16, 1, 1, 3), dtype=np.uint8)
    path = tmp_path / "video.mp4"
    with Mp4Writer(path, 64, 48, 24.0, overwrite=False) as writer:
        writer.push(np.broadcast_to(colours, (16, 48, 64, 3)))
    assert np.abs(read_video(path).astype(int) - colours).max() <= 3
    told = subprocess.run([ffmpeg_exe(), "-i", path], capture_output=True, check=False, text=True).stderr
    assert "yuv420p(tv, bt709, progressive)" in told


@pytest.mark.parametrize("fps", [7.5, 16.0, 23.976, 60.0])
def test_frame_rate_is_kept(tmp_path: Path, frames: np.ndarray, fps: float) -> None:
    with Mp4Writer(tmp_path / "video.mp4", 64, 48, fps, overwrite=False) as writer:
        writer.push(frames)
        info = writer.close()
    assert info.num_frames == 40
    assert info.fps == pytest.approx(fps, abs=0.006)  # ffmpeg tells two decimals


def test_index_comes_first(tmp_path: Path, frames: np.ndarray) -> None:
    path = tmp_path / "video.mp4"
    with Mp4Writer(path, 64, 48, 16.0, overwrite=False) as writer:
        writer.push(frames)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert b"moof" not in data


@pytest.mark.parametrize("size", [(63, 48), (64, 47), (0, 48), (64, -2)])
def test_refuses_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=f"even frame sizes, got {size[0]}x{size[1]}") as caught:
        Mp4Writer(tmp_path / "video.mp4", *size, 16.0, overwrite=False)
    assert caught.value.hint == "an even --scale makes any size even"


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf")])
def test_refuses_impossible_frame_rates(tmp_path: Path, fps: float) -> None:
    with pytest.raises(InputError, match="fps must lie in"):
        Mp4Writer(tmp_path / "video.mp4", 64, 48, fps, overwrite=False)


def test_refuses_frames_of_another_size(tmp_path: Path, frames: np.ndarray) -> None:
    with Mp4Writer(tmp_path / "video.mp4", 64, 48, 16.0, overwrite=False) as writer:
        writer.push(frames)
        with pytest.raises(ValueError, match="64x48 were announced"):
            writer.push(frames[:, :46])


def test_existing_video_is_replaced_only_when_asked(tmp_path: Path, frames: np.ndarray) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(b"precious")
    with pytest.raises(InputError, match="exists already"):
        Mp4Writer(path, 64, 48, 16.0, overwrite=False)
    writer = Mp4Writer(path, 64, 48, 16.0, overwrite=True)
    writer.push(frames)
    assert path.read_bytes() == b"precious"  # until the new one is complete
    assert writer.close().num_frames == 40


def test_video_without_frames_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="no frame was finished"),
        Mp4Writer(tmp_path / "video.mp4", 64, 48, 16.0, overwrite=False),
    ):
        pass
    assert names_in(tmp_path) == []


def test_an_error_of_the_rollout_still_finishes_the_video(tmp_path: Path, frames: np.ndarray) -> None:
    path = tmp_path / "video.mp4"
    with pytest.raises(KeyboardInterrupt):
        push_all(path, frames[:12], error=KeyboardInterrupt())
    assert video_info(path).num_frames == 12


def test_ctrl_c_in_the_terminal_finishes_the_video(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    process = start_noise_writer(path, at_least_frames=24)
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does: every process of the group
    out, err = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in err
    info = video_info(path)
    assert info.num_frames % 12 == 0
    assert info.num_frames >= max([24, *map(int, out.split())])
    assert len(read_video(path)) == info.num_frames
    assert names_in(tmp_path) == ["video.mp4"]


def test_killed_process_leaves_a_video_of_all_that_was_pushed(tmp_path: Path) -> None:
    process = start_noise_writer(tmp_path / "video.mp4", at_least_frames=48)
    (ffmpeg,) = children_of(process.pid)
    process.kill()
    process.communicate()
    wait_until_gone(ffmpeg)  # it sees the end of its input and finishes
    partial = tmp_path / "video.partial.mp4"
    assert len(read_video(partial)) == video_info(partial).num_frames >= 48
    assert not (tmp_path / "video.mp4").exists()


def test_power_cut_leaves_a_video(tmp_path: Path) -> None:
    process = start_noise_writer(tmp_path / "video.mp4", at_least_frames=240)
    (ffmpeg,) = children_of(process.pid)
    os.kill(ffmpeg, signal.SIGSTOP)
    process.kill()
    os.kill(ffmpeg, signal.SIGKILL)
    process.communicate()
    read = read_video(tmp_path / "video.partial.mp4")
    assert len(read) >= 120  # up to the encoder's look-ahead and the fragment under way
    truth = np.random.default_rng(0).integers(0, 256, (12, 48, 64, 3), dtype=np.uint8)
    assert np.corrcoef(read[0].mean(-1).ravel(), truth[0].mean(-1).ravel())[0, 1] > 0.7


def test_dying_ffmpeg_is_reported_with_its_last_words(
    tmp_path: Path, frames: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = 'echo first >&2; echo "Conversion failed: no luck" >&2; exit 3'
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(wrapper(tmp_path / "ffmpeg", script)))
    with pytest.raises(OutputError) as caught:
        push_all(tmp_path / "v.mp4", frames, times=200)
    assert caught.value.problem == "ffmpeg stopped writing the video: first; Conversion failed: no luck"
    assert caught.value.where == str(tmp_path / "v.mp4")


def test_full_disk_without_root(tmp_path: Path, frames: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    script = 'exec "$real" "${@:1:$#-1}" /dev/full'
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(wrapper(tmp_path / "ffmpeg", script)))
    with pytest.raises(OutputError, match="No space left on device") as caught:
        push_all(tmp_path / "v.mp4", frames, times=200)
    assert caught.value.hint == "free some space, or choose another --out"


def test_full_disk_keeps_what_was_written(tiny_disk: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 96, 128, 3), dtype=np.uint8)
    with pytest.raises(OutputError, match="No space left on device") as caught:
        push_all(tiny_disk / "v.mp4", noise, times=100)
    assert caught.value.where == str(tiny_disk / "v.partial.mp4")
    assert caught.value.hint.endswith("this part plays")
    assert len(read_video(tiny_disk / "v.partial.mp4")) >= 32
    assert names_in(tiny_disk) == ["v.partial.mp4"]


def test_disk_that_fills_while_finishing_keeps_the_partial_video(
    tmp_path: Path, frames: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        'case "${@: -1}" in *.final.mp4) exec "$real" "${@:1:$#-1}" /dev/full;; *) exec "$real" "$@";; esac'
    )
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(wrapper(tmp_path / "ffmpeg", script)))
    path = tmp_path / "v.mp4"
    with pytest.raises(OutputError, match="ffmpeg could not finish the video") as caught:
        push_all(path, frames)
    assert caught.value.where == str(tmp_path / "v.partial.mp4")
    assert len(read_video(tmp_path / "v.partial.mp4")) == 40


class TestWriteCheck:
    def test_passes_and_leaves_nothing(self, tmp_path: Path) -> None:
        write_check(tmp_path / "video.mp4")
        assert names_in(tmp_path) == []

    def test_missing_ffmpeg(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "nowhere"))
        with pytest.raises(OutputError, match=r"ffmpeg does not start: .*No such file") as caught:
            write_check(tmp_path / "video.mp4")
        assert re.match("pip install imageio-ffmpeg, or set IMAGEIO_FFMPEG_EXE", caught.value.hint)

    def test_ffmpeg_without_h264(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(wrapper(tmp_path / "ffmpeg", "echo V..... mpeg4")))
        with pytest.raises(OutputError, match=r"cannot write H\.264"):
            write_check(tmp_path / "video.mp4")

    def test_folder_that_takes_no_files(self) -> None:
        with pytest.raises(OutputError, match="output folder cannot be written"):
            write_check(Path("/proc/video.mp4"))

    def test_full_disk(self, tiny_disk: Path) -> None:
        (tiny_disk / "other").write_bytes(bytes(900_000))
        with pytest.raises(OutputError, match="No space left on device"):
            write_check(tiny_disk / "video.mp4")
