"""Bad input: its error in three lines and its exit code, before the weights load, and nothing written."""

import stat
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.video.ffmpeg import ffmpeg_exe
from tests.worldkv_cli.generate.runs import generate, prepared, spawn_and_wait
from trajectories import library_names

pytestmark = pytest.mark.usefixtures("weights_stay_closed")

LIBRARY = ", ".join(library_names())
KEYFRAMES = "version: 1\nsteps:\n  - keyframes:\n      poses:\n"

# What is in the file, and the three lines that follow from it; t.yaml stands for its path.
TRAJECTORIES = {
    "empty": (
        "",
        "the file is empty",
        "t.yaml",
        "the least it needs: `version: 1` and `steps: [{turn: {yaw_deg: 90}}]`",
    ),
    "binary": (
        b"\x89PNG\r\n\x1a\n\0",
        "not text: byte 0 is not UTF-8",
        "t.yaml",
        "a trajectory is a YAML text file in UTF-8",
    ),
    "huge": (
        b"#" * ((1 << 20) + 1),
        "the file is larger than the 1 MiB that a trajectory may have",
        "t.yaml",
        "use `repeat` for what recurs",
    ),
    "unknown key": (
        "version: 1\nsteps:\n  - tunr: {yaw_deg: 3}\n",
        "unknown key 'tunr'",
        "t.yaml:3:5 (steps[0].tunr)",
        "did you mean turn? expected one of: turn, move, hold, press, keyframes, orbit, return_to, mark",
    ),
    "wrong unit": (
        "version: 1\nsteps:\n  - hold: {second: 3}\n",
        "unknown key 'second'",
        "t.yaml:3:12 (steps[0].hold.second)",
        "did you mean seconds? expected one of: frames, seconds",
    ),
    "nan": (
        "version: 1\nsteps:\n  - turn: {yaw_deg: .nan}\n",
        "yaw_deg must be a finite number, got nan",
        "t.yaml:3:21 (steps[0].turn.yaw_deg)",
        "Degrees to the right",
    ),
    "negative frames": (
        "version: 1\nsteps:\n  - hold: {frames: -3}\n",
        "frames must be at least 1, got -3",
        "t.yaml:3:20 (steps[0].hold.frames)",
        "Video frames",
    ),
    "repeat bomb": (
        "version: 1\nsteps:\n  - repeat: {times: 40000, steps: [{turn: {yaw_deg: 360}}]}\n",
        "this makes at least 2880000 frames, more than the 200000 that a trajectory may have",
        "t.yaml:3:21 (steps[0].repeat.times)",
        "repeat less often, or move faster",
    ),
    "no steps": (
        "version: 1\nsteps: []\n",
        "steps must have at least 1 entry, got 0",
        "t.yaml:2:8 (steps)",
        "What the camera does, in order",
    ),
    "no motion": (
        "version: 1\nsteps:\n  - mark: home\n",
        "the trajectory has no motion: it makes no frame after the start",
        "t.yaml:3:3 (steps)",
        "add a step that takes time",
    ),
    "less than a chunk": (
        "version: 1\nsteps:\n  - hold: {frames: 1}\n",
        "2 frames do not fill the first chunk of 3",
        "t.yaml",
        "make the trajectory longer, or pad it",
    ),
    "no rotation": (
        KEYFRAMES + "        - {at_frames: 5, c2w: [[1, 0, 0, 0], [0, 2, 0, 0], [0, 0, 1, 0]]}\n",
        "c2w does not hold a rotation: its columns are off by 3",
        "t.yaml:5:31 (steps[0].keyframes.poses[0].c2w)",
        "R^T R must be the identity",
    ),
}


@pytest.mark.parametrize("case", TRAJECTORIES)
def test_bad_trajectory(case: str, tmp_path: Path) -> None:
    content, problem, where, hint = TRAJECTORIES[case]
    path = tmp_path / "t.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    told = generate("--traj", path, "--out", tmp_path / "run")
    assert (told.exit_code, told.stdout) == (2, "")
    lines = told.stderr.splitlines()
    assert lines[0] == f"error: {problem}"
    assert lines[1] == f"  at: {where.replace('t.yaml', str(path))}"
    assert lines[2].startswith(f"hint: {hint}")
    assert len(lines) == 3
    assert not (tmp_path / "run").exists()


# Flags besides --traj look.yaml and --out run, and the three lines that follow.
FLAGS = {
    "unknown model": (
        ["--model", "mimi"],
        ("unknown model 'mimi'", "--model", "did you mean mini? known: mini"),
    ),
    "prompt": (
        ["--prompt", "a cat"],
        ("mini takes no text", "--prompt", "pick a world with --world-seed"),
    ),
    "image missing": (
        ["--image", "no.png"],
        ("the image does not exist", "no.png", "check the path of the image"),
    ),
    "image is a folder": (
        ["--image", "."],
        ("an image was expected, this is a folder", ".", "name the image file"),
    ),
    "image is text": (
        ["--image", "look.yaml"],
        ("the image cannot be read: not a picture", "look.yaml", "PNG, JPEG and WebP files can be read"),
    ),
    "no device": (
        ["--device", "cuda:9999999999999"],
        (
            "there is no device cuda:9999999999999: no CUDA device found",
            "--device",
            "use --device cpu, or see: worldkv doctor",
        ),
    ),
    "device name": (
        ["--device", "gpu"],
        ("device must be auto, cpu, mps, cuda or cuda:N, got 'gpu'", "--device", "device: device"),
    ),
    "memory mode": (
        ["--memory", "worldvk"],
        (
            "memory must be 'full', 'sliding', 'sink' or 'worldkv', got 'worldvk'",
            "--memory",
            "did you mean worldkv?",
        ),
    ),
    "negative recent": (
        ["--recent", "-1"],
        ("recent must be at least 0, got -1", "--recent", "recent: newest latent frames that stay"),
    ),
    "sink without sink": (
        ["--memory", "sliding", "--sink", "3"],
        ("memory mode sliding has no sink", "--sink", "use --memory sink or worldkv"),
    ),
    "retrieval without retrieval": (
        ["--memory", "full", "--retrieve", "2"],
        ("memory mode full retrieves nothing", "--retrieve", "use --memory worldkv, or leave this out"),
    ),
    "less than a token": (
        ["--retrieve", "0.001"],
        ("0.001 chunks of 45 tokens are not one token", "--retrieve", "--memory sink retrieves nothing"),
    ),
    "parts of whole chunks": (
        ["--strategy", "pose", "--retrieve", "2.7"],
        (
            "pose retrieves whole chunks, got 2.7",
            "--retrieve",
            "give a whole number, or use --strategy rays",
        ),
    ),
    "less than a chunk": (
        ["--strategy", "coverage", "--retrieve-tokens", "44"],
        (
            "coverage retrieves whole chunks of 45 tokens, and not one fits",
            "--retrieve-tokens",
            "give at least 45, or use --strategy rays",
        ),
    ),
    "pruning of single tokens": (
        ["--keep-ratio", "0.5"],
        (
            "rays picks single tokens itself, so there is nothing to prune",
            "--keep-ratio",
            "leave it out, or use --strategy pose or coverage",
        ),
    ),
    "gate": (
        ["--gate", "nan"],
        ("gate must be a finite number, got nan", "--gate", "gate: leave out what corresponds worse"),
    ),
    "no prefix": (
        ["--prefix", "0"],
        ("a prefix of 0 chunks does not fit a trajectory of 8", "--prefix", "give 1 to 7 chunks"),
    ),
    "prefix of everything": (
        ["--prefix", "8"],
        ("a prefix of 8 chunks does not fit a trajectory of 8", "--prefix", "give 1 to 7 chunks"),
    ),
    "negative prefix": (
        ["--prefix", "-3"],
        ("a prefix of -3 chunks does not fit a trajectory of 8", "--prefix", "give 1 to 7 chunks"),
    ),
    "prefix video without path": (
        ["--prefix", "clip.mp4"],
        ("a prefix video needs its camera path", "--prefix", "add --prefix-traj FILE"),
    ),
    "path without prefix video": (
        ["--prefix", "3", "--prefix-traj", "loop"],
        (
            "prefix_traj is the camera path of a prefix video, and there is none",
            "--prefix-traj",
            "add --prefix clip.mp4",
        ),
    ),
    "prefix video missing": (
        ["--prefix", "clip.mp4", "--prefix-traj", "look.yaml"],
        ("the video does not exist", "clip.mp4", "check the path of the video"),
    ),
    "prefix video is text": (
        ["--prefix", "look.yaml", "--prefix-traj", "look.yaml"],
        ("the video cannot be read: ", "look.yaml", "does a video player show the file?"),
    ),
    "prefix and image": (
        ["--prefix", "3", "--image", "look.yaml"],
        ("a prefix brings its own first picture", "--image", "leave out one of the two"),
    ),
    "scale": (
        ["--scale", "1000"],
        ("scale must lie in [1, 64], got 1000", "--scale", "scale: enlargement of the frames in the MP4"),
    ),
    "config missing": (
        ["--config", "no.yaml"],
        ("the settings file cannot be read: No such file or directory", "no.yaml", "check --config"),
    ),
}


@pytest.mark.usefixtures("look")
@pytest.mark.parametrize("case", FLAGS)
def test_bad_flag(case: str, tmp_path: Path) -> None:
    flags, (problem, where, hint) = FLAGS[case]
    told = generate("--traj", "look.yaml", "--out", "run", *flags)
    assert (told.exit_code, told.stdout) == (2, "")
    lines = told.stderr.splitlines()
    assert lines[0].startswith(f"error: {problem}")
    assert lines[1] == f"  at: {where}"
    assert lines[2].startswith(f"hint: {hint}")
    assert len(lines) == 3
    assert not (tmp_path / "run").exists()


def test_exact_stderr_of_a_real_process() -> None:
    told = spawn_and_wait("--traj", "lopp")
    assert (told.exit_code, told.stdout) == (2, "")
    assert told.stderr == (
        "error: no trajectory named 'lopp' in the library\n"
        "  at: lopp\n"
        f"hint: did you mean loop? the library has: {LIBRARY}\n"
    )


def test_missing_trajectory() -> None:
    told = generate()
    assert told.exit_code == 2
    assert told.stderr == (
        "error: no trajectory given\n  at: --traj\nhint: try --traj loop; see: worldkv traj list\n"
    )
    told = generate("--traj", "./nowhere.yaml")
    assert told.exit_code == 2
    assert told.stderr == (
        f"error: no such trajectory file\n  at: ./nowhere.yaml\nhint: the library needs no path: {LIBRARY}\n"
    )


@pytest.mark.parametrize(
    ("flags", "told_of"), [(["--seed", "abc"], "--seed"), (["--sede", "1"], "--sede"), (["loop"], "loop")]
)
def test_usage_errors(flags: list[str], told_of: str) -> None:
    told = generate(*flags)
    assert (told.exit_code, told.stdout) == (2, "")
    assert told_of in told.stderr
    assert "Traceback" not in told.stderr


def test_damaged_image(look: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "whole.png")
    (tmp_path / "torn.png").write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    told = generate("--traj", look, "--image", "torn.png")
    assert told.exit_code == 2
    assert told.stderr.startswith("error: the image cannot be read: ")
    assert told.stderr.endswith("\n  at: torn.png\nhint: PNG, JPEG and WebP files can be read\n")


def clip(path: Path, num_frames: int) -> Path:
    """A grey video."""
    command = [ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", "color=gray:size=80x48:rate=16"]
    subprocess.run([*command, "-frames:v", str(num_frames), str(path)], check=True)
    return path


def test_prefix_video_shorter_than_its_path(look: Path, tmp_path: Path) -> None:
    told = generate("--traj", look, "--prefix", clip(tmp_path / "c.mp4", 20), "--prefix-traj", look)
    assert (told.exit_code, told.stderr) == (
        2,
        "error: the prefix video has 20 frames, its camera path 24\n"
        "  at: --prefix-traj\n"
        "hint: give the camera path of exactly this video\n",
    )


def test_a_run_never_replaces_its_own_input(look: Path, tmp_path: Path) -> None:
    """--overwrite would remove the very clip that the new run starts from."""
    (tmp_path / "run").mkdir()
    video = clip(tmp_path / "run" / "video.mp4", 24)
    before = video.read_bytes()
    told = generate(
        "--traj", look, "--prefix", video, "--prefix-traj", look, "--out", tmp_path / "run", "--overwrite"
    )
    assert (told.exit_code, told.stdout) == (2, "")
    assert "the prefix is a file of the run that would be replaced" in told.stderr
    assert video.read_bytes() == before


@pytest.mark.parametrize(("strategy", "gate"), [("rays", "0"), ("coverage", "0"), ("coverage", "1.5")])
def test_gate_errors_name_the_flag(look: Path, strategy: str, gate: str) -> None:
    told = generate("--traj", look, "--strategy", strategy, "--gate", gate)
    assert told.exit_code == 2
    assert "  at: --gate\n" in told.stderr


def test_nothing_left_after_the_prefix_video(look: Path, tmp_path: Path) -> None:
    (tmp_path / "short.yaml").write_text("version: 1\nsteps:\n  - hold: {frames: 2}\n")
    video = clip(tmp_path / "c.mp4", 24)
    told = generate("--traj", "short.yaml", "--prefix", video, "--prefix-traj", look)
    assert (told.exit_code, told.stderr) == (
        2,
        "error: nothing is left to generate: 3 frames do not fill a chunk after the prefix\n"
        "  at: --traj\n"
        "hint: make the trajectory longer, or use --fit pad\n",
    )
    job = prepared(traj="short.yaml", fit="pad", prefix=video, prefix_traj=str(look))
    assert (job.session.trajectory.num_frames, job.num_chunks) == (27, 9)


class TestOutput:
    def test_existing_run_folder(self, look: Path, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "run.json").write_text('{"schema_version": 1}')
        told = generate("--traj", look, "--out", "run")
        assert (told.exit_code, told.stdout) == (2, "")
        assert told.stderr == (
            "error: the output folder is not empty: run.json\n"
            "  at: run\n"
            "hint: --overwrite replaces an earlier run, or choose another --out\n"
        )
        assert (tmp_path / "run" / "run.json").read_text() == '{"schema_version": 1}'

    @pytest.mark.parametrize(
        ("out", "problem"),
        [
            ("/proc/worldkv", "the output folder cannot be made: No such file or directory"),
            ("look.yaml", "a folder was expected, this is a file"),
        ],
    )
    def test_folder_that_cannot_be(self, look: Path, out: str, problem: str) -> None:
        told = generate("--traj", look, "--out", out)
        assert (told.exit_code, told.stdout) == (2, "")
        assert told.stderr == f"error: {problem}\n  at: {out}\nhint: choose another --out\n"

    def test_full_folder(self, look: Path, tiny_disk: Path) -> None:
        (tiny_disk / "other").write_bytes(bytes(900_000))
        told = generate("--traj", look, "--out", tiny_disk / "run")
        assert (told.exit_code, told.stdout) == (1, "")
        assert told.stderr == (
            "error: the output folder cannot be written: No space left on device\n"
            f"  at: {tiny_disk / 'run'}\n"
            "hint: free some space, or choose another --out\n"
        )

    def test_missing_ffmpeg_spares_the_earlier_run(
        self, look: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "run.json").write_text('{"schema_version": 1}')
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
        told = generate("--traj", look, "--out", "run", "--overwrite")
        assert (told.exit_code, told.stdout) == (1, "")
        assert told.stderr == (
            "error: ffmpeg does not start: [Errno 2] No such file or directory: '/nowhere/ffmpeg'\n"
            "  at: /nowhere/ffmpeg\n"
            "hint: pip install imageio-ffmpeg, or set IMAGEIO_FFMPEG_EXE to an ffmpeg with libx264\n"
        )
        assert (tmp_path / "run" / "run.json").exists()

    def test_ffmpeg_without_h264(self, look: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fake = tmp_path / "ffmpeg"
        fake.write_text("#!/bin/sh\necho V..... mpeg4\n")
        fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(fake))
        told = generate("--traj", look, "--out", "run")
        assert told.exit_code == 1
        assert told.stderr.startswith("error: this ffmpeg cannot write H.264 (no libx264)\n")
        assert not (tmp_path / "run").exists()
