"""What `worldkv generate` makes of good input."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

import core.generate
from core.config import GenerateConfig
from core.fidelity.pictures import psnr
from core.models.mini.config import MiniConfig
from core.models.mini.world import World
from core.runlog import hash_file, load_run, run_json_schema
from core.video.reader import read_video, video_info
from tests.worldkv_cli.generate.runs import generate, json_of, log_of, prepared, spawn_and_wait
from trajectories import load
from worldkv_cli.main import app

FAST = ("--scale", 1, "--quiet")
LEFT_OUT = "do not fill a chunk and are left out (--fit pad holds the last pose instead)\n"


def true_frames(traj: Path, frames: slice, *, seed: int = 0) -> np.ndarray:
    """The true world, [frames, height, width, 3]."""
    world = World.around(load(traj), seed, MiniConfig())
    pictures = world.pictures(frames.start, frames.stop).permute(0, 2, 3, 1)
    return (pictures * 255).round().numpy().astype(np.uint8)


def shrunk(frames: np.ndarray) -> np.ndarray:
    """Frames of a video in the model's own size."""
    return np.stack([np.asarray(Image.fromarray(f).resize((80, 48), Image.Resampling.BOX)) for f in frames])


def mean_psnr(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Over the frames of two videos."""
    assert len(ours) == len(theirs)
    return float(np.mean([psnr(a, b) for a, b in zip(ours, theirs, strict=True)]))


class TestRunFolder:
    def test_holds_four_files(self, earlier_run: Path) -> None:
        files = ["chunks.jsonl", "run.json", "video.mp4", "views.jsonl"]
        assert sorted(p.name for p in earlier_run.iterdir()) == files

    def test_video_plays_everywhere(self, earlier_run: Path) -> None:
        info = video_info(earlier_run / "video.mp4")
        assert (info.codec, info.pix_fmt) == ("h264", "yuv420p")
        assert (info.width, info.height, info.fps, info.num_frames) == (160, 96, 16.0, 24)
        assert len(read_video(earlier_run / "video.mp4")) == 24

    def test_run_log_is_complete(self, earlier_run: Path) -> None:
        log = log_of(earlier_run)
        assert (log.status, log.name, log.failure, log.seed) == ("done", "look", None, 0)
        assert log.started_at < log.finished_at  # type: ignore[operator]
        assert [(c.chunk, c.first_frame, c.num_frames) for c in log.chunks] == [
            (i, 3 * i, 3) for i in range(8)
        ]
        assert log.totals.chunks == 8
        assert log.totals.frames == 24
        assert log.video is not None
        assert (log.video.path, log.video.num_frames) == ("video.mp4", 24)
        assert log.video.size_bytes == (earlier_run / "video.mp4").stat().st_size
        assert log.trajectory_sha256 == hash_file(earlier_run.parent / "look.yaml").sha256
        assert set(log.config_sources) == {"traj", "out", "quiet", "scale"}
        assert log.device is not None
        assert (log.device.name, log.dtype) == ("cpu", "float32")
        assert any(chunk.retrieved for chunk in log.chunks)
        assert all(chunk.host_bytes > 0 and chunk.wall_ms > 0 for chunk in log.chunks)

    def test_measured_is_what_was_planned(self, earlier_run: Path) -> None:
        log = log_of(earlier_run)
        assert log.totals.peak_bank_bytes == log.plan["bank_bytes"]
        assert log.totals.max_window_tokens <= log.plan["window_tokens"]
        assert log.totals.tokens_kept == log.plan["stored_tokens"]
        assert (log.totals.hits, log.totals.misses) == (log.plan["hits"], log.plan["misses"])

    def test_chunk_lines_equal_the_log(self, earlier_run: Path) -> None:
        lines = (earlier_run / "chunks.jsonl").read_text().splitlines()
        in_log = json.loads((earlier_run / "run.json").read_text())["chunks"]
        assert [json.loads(line) for line in lines] == in_log

    def test_keys_are_those_of_the_schema(self, earlier_run: Path) -> None:
        log, schema = json.loads((earlier_run / "run.json").read_text()), run_json_schema()
        assert set(log) == set(schema["properties"])
        assert set(log["chunks"][0]) == set(schema["$defs"]["ChunkRecord"]["properties"])

    def test_default_folder_has_the_name_of_the_trajectory(self, tmp_path: Path) -> None:
        text = "version: 1\nname: ../../a walk\nsteps:\n  - hold: {frames: 2}\n"
        (tmp_path / "w.yaml").write_text(text)
        told = generate("--traj", "w.yaml", "--quiet", "--scale", 1)
        assert told.exit_code == 0, told.stderr
        (folder,) = (tmp_path / "runs").iterdir()
        assert re.fullmatch(r"a-walk-\d{8}-\d{6}", folder.name)
        assert log_of(folder).name == "../../a walk"


class TestStreams:
    def test_result_on_stdout_progress_on_stderr(self, look: Path) -> None:
        told = spawn_and_wait("--traj", look, "--out", "run", "--scale", 1)
        assert told.exit_code == 0
        assert re.fullmatch(
            r"run/video\.mp4\n"
            r"  24 frames, 80x48, \d+\.\d s, \d+\.\d fps\n"
            r"  memory: \d+ hits, \d+ misses \(\d+%\), bank at most [\d.]+ [kM]B\n",
            told.stdout,
        )
        lines = told.stderr.splitlines()
        assert [line.split()[1] for line in lines] == [f"{i}/8" for i in range(1, 9)]

    def test_quiet(self, look: Path) -> None:
        told = generate("--traj", look, "--out", "run", "--scale", 1, "--quiet")
        assert (told.exit_code, told.stderr) == (0, "")
        assert told.stdout.startswith("run/video.mp4\n")

    def test_json_is_one_object_and_nothing_else(self, look: Path) -> None:
        told = spawn_and_wait("--traj", look, "--out", "run", "--scale", 1, "--json")
        assert (told.exit_code, told.stderr) == (0, "")
        result = json_of(told)
        assert (result["folder"], result["status"], result["video"]["num_frames"]) == ("run", "done", 24)
        log = json.loads(Path("run/run.json").read_text())
        assert {**result, "chunks": log["chunks"]} == {**log, "folder": "run"}

    def test_overwrite(self, look: Path, tmp_path: Path) -> None:
        for seed in (1, 2):
            assert (
                generate("--traj", look, "--out", "run", "--seed", seed, *FAST, "--overwrite").exit_code == 0
            )
            assert log_of(tmp_path / "run").seed == seed


class TestFit:
    @pytest.fixture
    def odd(self, tmp_path: Path) -> Path:
        path = tmp_path / "odd.yaml"
        path.write_text("version: 1\nsteps:\n  - turn: {yaw_deg: 20, frames: 10}\n")  # 11 frames
        return path

    def test_cut_is_said(self, odd: Path, tmp_path: Path) -> None:
        told = generate("--traj", odd, "--out", "run", *FAST)
        assert (told.exit_code, told.stderr) == (
            0,
            f"warning: the last 2 of 11 video frames {LEFT_OUT}",
        )
        assert video_info(tmp_path / "run" / "video.mp4").num_frames == 9

    def test_pad_is_said(self, odd: Path, tmp_path: Path) -> None:
        told = generate("--traj", odd, "--out", "run", *FAST, "--fit", "pad")
        assert (told.exit_code, told.stderr) == (
            0,
            "warning: the last pose is held for 1 more video frame, 12 in all\n",
        )
        assert video_info(tmp_path / "run" / "video.mp4").num_frames == 12


class TestSettings:
    def test_flags_over_environment_over_file(
        self, look: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "run.yaml").write_text(
            "traj: look.yaml\nseed: 1\nworld_seed: 4\nmemory: sink\nscale: 1\nquiet: true\n"
        )
        monkeypatch.setenv("WORLDKV_SEED", "2")
        monkeypatch.setenv("WORLDKV_WORLD_SEED", "5")
        told = generate("--config", "run.yaml", "--seed", 3, "--out", "run")
        assert (told.exit_code, told.stderr) == (0, "")
        log = log_of(tmp_path / "run")
        chosen = {key: log.config[key] for key in ("seed", "world_seed", "memory", "scale", "model")}
        assert chosen == {"seed": 3, "world_seed": 5, "memory": "sink", "scale": 1, "model": "mini"}
        assert log.config_sources == {
            "traj": "run.yaml:1:1",
            "seed": "--seed",
            "world_seed": "WORLDKV_WORLD_SEED",
            "memory": "run.yaml:4:1",
            "scale": "run.yaml:5:1",
            "quiet": "run.yaml:6:1",
            "out": "--out",
        }

    def test_file_named_by_the_environment(self, look: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        Path("run.yaml").write_text("sede: 1\n")
        monkeypatch.setenv("WORLDKV_CONFIG", "run.yaml")
        told = generate("--traj", look)
        assert (told.exit_code, told.stderr) == (
            2,
            "error: unknown key 'sede'\n  at: run.yaml:1:1\nhint: did you mean seed?\n",
        )

    def test_unknown_variable(self, look: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WORLDKV_STRATGY", "rays")
        told = generate("--traj", look)
        assert (told.exit_code, told.stderr) == (
            2,
            "error: unknown environment variable WORLDKV_STRATGY\n"
            "  at: WORLDKV_STRATGY\n"
            "hint: did you mean WORLDKV_STRATEGY?\n",
        )

    def test_settings_without_effect_are_said(self, look: Path) -> None:
        told = generate(
            *("--traj", look, "--out", "run", "--scale", 1, "-q"),
            *("--memory", "full", "--recent", 3, "--gate", 0.1, "--strategy", "rays"),
        )
        assert (told.exit_code, told.stderr) == (
            0,
            "warning: memory mode full keeps every frame: recent has no effect\n"
            "warning: memory mode full retrieves nothing: strategy, gate have no effect\n",
        )


def test_help_states_the_true_defaults() -> None:
    """It repeats them, for it must not import them."""
    words = " ".join(CliRunner().invoke(app, ["generate", "--help"], env={"COLUMNS": "300"}).stdout.split())
    told = re.findall(r"--([a-z-]+) (?:[^\s]+ )?[^│]*?\(default ([^):]+)\)", words)
    config = GenerateConfig()
    checked = {key.replace("-", "_"): value for key, value in told if key not in ("out", "pooled")}
    assert len(checked) >= 10
    assert {key: str(getattr(config, key)).removesuffix(".0") for key in checked} == checked
    assert config.out is None
    assert not config.pooled


class TestSeeds:
    def test_same_seed_same_bits(self, earlier_run: Path, tmp_path: Path) -> None:
        traj = earlier_run.parent / "look.yaml"
        assert generate("--traj", traj, "--out", "same", "--scale", 2, "-q").exit_code == 0
        assert generate("--traj", traj, "--out", "other", "--scale", 2, "-q", "--seed", 1).exit_code == 0
        first, same = read_video(earlier_run / "video.mp4"), read_video(tmp_path / "same" / "video.mp4")
        np.testing.assert_array_equal(first, same)
        assert (first != read_video(tmp_path / "other" / "video.mp4")).any()

    @pytest.mark.slow
    def test_same_bits_in_processes_of_their_own(self, look: Path, tmp_path: Path) -> None:
        for name in ("a", "b"):
            assert spawn_and_wait("--traj", look, "--out", name, "--scale", 1).exit_code == 0
        np.testing.assert_array_equal(
            read_video(tmp_path / "a" / "video.mp4"), read_video(tmp_path / "b" / "video.mp4")
        )

    @pytest.mark.slow
    def test_noise_does_not_depend_on_the_memory_mode(
        self, look: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seeded = core.generate.seeded_noise
        drawn: dict[str, dict[tuple[int, int], Tensor]] = {}

        def recording(seed: int, shape: tuple[int, ...], device: Any) -> Any:
            noise = seeded(seed, shape, device)

            def draw(chunk: int, index: int) -> Tensor:
                drawn[mode][chunk, index] = noise(chunk, index)
                return drawn[mode][chunk, index]

            return draw

        monkeypatch.setattr(core.generate, "seeded_noise", recording)
        for mode in ("full", "sliding", "sink", "worldkv"):
            drawn[mode] = {}
            prepared(traj=str(look), memory=mode, out=tmp_path / mode, scale=1, seed=7).run()
        assert drawn["full"].keys() == {(chunk, index) for chunk in range(8) for index in range(4)}
        for mode in ("sliding", "sink", "worldkv"):
            assert drawn[mode].keys() == drawn["full"].keys()
            assert all(drawn[mode][draw].equal(noise) for draw, noise in drawn["full"].items())


class TestBeginnings:
    def test_prefix_shows_the_true_world(self, look: Path, tmp_path: Path) -> None:
        told = generate("--traj", look, "--prefix", 4, "--world-seed", 3, "--scale", 2, "--out", "run", "-q")
        assert (told.exit_code, told.stderr) == (0, "")
        log = log_of(tmp_path / "run")
        assert [chunk.given for chunk in log.chunks] == [True] * 4 + [False] * 4
        assert (log.totals.given_chunks, log.totals.warm_up_chunks, log.totals.timed_chunks) == (4, 2, 2)
        ours = shrunk(read_video(tmp_path / "run" / "video.mp4"))
        assert mean_psnr(ours[:12], true_frames(look, slice(0, 12), seed=3)) > 20
        assert mean_psnr(ours[:12], true_frames(look, slice(0, 12), seed=4)) < 15

    def test_prefix_video_comes_first(self, earlier_run: Path, tmp_path: Path) -> None:
        traj, video = earlier_run.parent / "look.yaml", earlier_run / "video.mp4"
        told = generate(
            *("--traj", traj, "--prefix", video, "--prefix-traj", traj, "--scale", 2, "--out", "run", "-q")
        )
        # 24 frames are given; the script's 24 begin with the last of them.
        assert (told.exit_code, told.stderr) == (
            0,
            f"warning: the last 2 of 47 video frames {LEFT_OUT}",
        )
        log = log_of(tmp_path / "run")
        assert [chunk.given for chunk in log.chunks] == [True] * 8 + [False] * 7
        assert log.inputs["prefix"].sha256 == hash_file(video).sha256
        assert log.inputs["prefix_traj"].sha256 == hash_file(traj).sha256
        clip, whole = read_video(video), read_video(tmp_path / "run" / "video.mp4")
        assert len(whole) == 45
        assert mean_psnr(shrunk(whole[:24]), shrunk(clip)) > 25

    def test_prefix_video_longer_than_its_path_is_said(self, earlier_run: Path, tmp_path: Path) -> None:
        (tmp_path / "start.yaml").write_text("version: 1\nsteps:\n  - hold: {frames: 9}\n")
        job = prepared(traj="loop", prefix=earlier_run / "video.mp4", prefix_traj="start.yaml")
        assert job.notes[:2] == (
            "the last 1 of the prefix's 10 cameras does not fill a chunk and is left out",
            "the prefix video has 24 frames, its camera path 10: the rest is left out",
        )

    def test_image_is_the_first_frame(self, look: Path, tmp_path: Path) -> None:
        image = true_frames(look, slice(0, 1), seed=11)[0]
        Image.fromarray(image).resize((800, 480), Image.Resampling.NEAREST).save(tmp_path / "first.png")
        told = generate("--traj", look, "--image", "first.png", "--scale", 2, "--out", "run", "-q")
        assert (told.exit_code, told.stderr) == (0, "")
        log = log_of(tmp_path / "run")
        assert log.inputs["image"].sha256 == hash_file(tmp_path / "first.png").sha256
        first = shrunk(read_video(tmp_path / "run" / "video.mp4")[:1])[0]
        assert psnr(first, image) > psnr(first, true_frames(look, slice(0, 1))[0]) + 3

    def test_world_seed_picks_the_world(self, look: Path, tmp_path: Path) -> None:
        for seed in (0, 1):
            assert generate("--traj", look, "--world-seed", seed, "--out", f"{seed}", *FAST).exit_code == 0
        zero, one = (read_video(tmp_path / f"{seed}" / "video.mp4") for seed in (0, 1))
        assert mean_psnr(shrunk(zero), shrunk(one)) < 25


MEMORIES = {
    "full": ["--memory", "full"],
    "sliding": ["--memory", "sliding", "--recent", "3"],
    "no past": ["--memory", "sliding", "--recent", "0"],
    "sink": ["--memory", "sink", "--sink", "1"],
    "sink larger than the rollout": ["--memory", "sink", "--sink", "1000000", "--recent", "1000000"],
    "rays": ["--strategy", "rays", "--retrieve", "0.5"],
    "rays, gate": ["--strategy", "rays", "--gate", "0.05", "--retrieve-tokens", "30"],
    "rays, contiguous": ["--positions", "contiguous"],
    "rays, slot": ["--positions", "slot"],
    "more than there is": ["--retrieve-tokens", "1000000000000"],
    "far more than there is": ["--strategy", "pose", "--retrieve", "1e300"],
    "pose": ["--strategy", "pose"],
    "pose, listed": ["--strategy", "pose", "--positions", "listed"],
    "coverage": ["--strategy", "coverage", "--gate", "0.1", "--retrieve", "2"],
    "key": ["--strategy", "pose", "--keep-ratio", "0.25"],
    "key, pooled": ["--strategy", "pose", "--keep-ratio", "0.25", "--pooled"],
    "view": ["--strategy", "coverage", "--prune", "view", "--keep-ratio", "0.5"],
    "host bank": ["--bank", "host"],
    "random": ["--strategy", "pose", "--prune", "random", "--keep-ratio", "0.5"],
    "stride": ["--strategy", "pose", "--prune", "stride", "--keep-ratio", "0.5", "--pooled"],
    "keep all": ["--keep-all"],
    "keep all, pruned": ["--keep-all", "--strategy", "pose", "--keep-ratio", "0.25"],
    "bfloat16": ["--dtype", "bfloat16"],
    "float16": ["--dtype", "float16"],
}


@pytest.mark.parametrize("case", MEMORIES)
def test_every_way_to_remember(case: str, look: Path, tmp_path: Path) -> None:
    told = generate("--traj", look, "--out", "run", "--scale", 1, "-q", "--recent", 3, *MEMORIES[case])
    assert told.exit_code == 0, told.stderr
    log = log_of(tmp_path / "run")
    assert (log.status, log.totals.frames, len(log.chunks)) == ("done", 24, 8)
    assert log.totals.peak_bank_bytes == log.plan["bank_bytes"]
    retrieves = not {"--memory"} & set(MEMORIES[case])
    assert any(chunk.retrieved for chunk in log.chunks) is retrieves
    assert np.ptp(read_video(tmp_path / "run" / "video.mp4")) > 50


def test_killed_log_is_readable_while_it_runs(look: Path, tmp_path: Path) -> None:
    seen = []
    job = prepared(traj=str(look), out=tmp_path / "run", scale=1)
    job.run(lambda record: seen.append((record.chunk, load_run(tmp_path / "run").status)))
    assert seen == [(chunk, "running") for chunk in range(8)]
