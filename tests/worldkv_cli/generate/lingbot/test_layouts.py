"""Good input: every layout of the checkpoint, wherever it lies, becomes a video and its log."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.fidelity.pictures import psnr
from core.video.reader import read_video, video_info
from tests.worldkv_cli.generate.lingbot.runs import arguments, generate, prepared
from tests.worldkv_cli.generate.runs import log_of, spawn_and_wait

CUT = "warning: the last 12 of 57 video frames do not fill a chunk and are left out "
CUT += "(--fit pad holds the last pose instead)\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "flags", "frames", "said"),
    [
        ("raw", {}, [9, 12, 12, 12, 12], ""),
        ("diffusers", {}, [9, 12, 12, 12, 12], ""),
        ("v2", {"model": "lingbot-v2"}, [13, 16, 16], CUT),
        ("v2", {"model": "lingbot-v2", "chunk_frames": 3}, [9, 12, 12, 12, 12], ""),
    ],
    ids=["raw", "diffusers", "v2", "v2-threes"],
)
def test_every_layout(
    checkpoints: Path, layout: str, flags: dict[str, object], frames: list[int], said: str
) -> None:
    told = generate(checkpoints / layout, **flags)
    assert told.exit_code == 0, told.stderr
    assert told.stderr == said
    assert told.stdout.startswith(f"run/video.mp4\n  {sum(frames)} frames, 64x64, ")
    info, log = video_info(Path("run/video.mp4")), log_of(Path("run"))
    assert (info.num_frames, info.width, info.height, info.codec) == (sum(frames), 64, 64, "h264")
    assert [chunk.num_frames for chunk in log.chunks] == frames
    assert (log.status, log.totals.frames, log.dtype) == ("done", sum(frames), "float32")
    lines = Path("run/chunks.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == json.loads(Path("run/run.json").read_text())["chunks"]
    assert log.plan["checkpoint_layout"] == layout
    assert Path(str(log.plan["checkpoint"])).parent == checkpoints / layout
    assert log.plan["translation_scale"] == pytest.approx(0.6 / 3)  # 4 of 12 frames of the walk
    turned = (log.plan["bank_host_bytes"], log.plan["camera_ready"], log.plan["resident_blocks"])
    assert turned == (0, True, None)
    assert max(chunk.device_bytes for chunk in log.chunks) <= log.plan["predicted_device_bytes"]
    assert log.inputs["image"].path == "first.png"


@pytest.mark.slow
def test_as_a_user_types_it(raw: Path, tmp_path: Path) -> None:
    """Twice in processes of their own: the second one finds the encoded prompt and loads no encoder."""
    driver = (
        "import atexit, sys\n"
        "encoder = 'transformers.models.umt5.modeling_umt5'\n"
        "atexit.register(lambda: sys.stderr.write(f'encoder: {encoder in sys.modules}\\n'))\n"
    )
    for encodes in (True, False):
        told = spawn_and_wait(
            *arguments(raw, traj="short.yaml", overwrite=True, vram_budget="72GiB"),
            driver=driver,
            XDG_CACHE_HOME=str(tmp_path / "cache"),
        )
        assert told.exit_code == 0, told.stderr
        assert re.fullmatch(r"run/video\.mp4\n  9 frames, 64x64, \d+\.\d s\n", told.stdout)
        progress, encoder = told.stderr.splitlines()
        assert progress.startswith("chunk 1/1 (100%): ")
        assert encoder == f"encoder: {encodes}"
    assert len(list((tmp_path / "cache" / "worldkv" / "text").iterdir())) == 1


class TestWhereItLies:
    def test_several_checkpoints_in_a_folder(
        self, checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As `models pull --to` lays them out: VAE and text encoder serve both versions."""
        shelf = tmp_path / "shelf"
        shutil.copytree(checkpoints / "raw", shelf / "lingbot-world-base-cam")
        v2 = shelf / "lingbot-world-v2-14b-causal-fast"
        shutil.copytree(checkpoints / "v2" / "transformers", v2 / "transformers")
        monkeypatch.setenv("WORLDKV_CHECKPOINTS", f"{tmp_path / 'none'}:{shelf}")
        found = {model: prepared(None, model=model).session.logged for model in ("lingbot", "lingbot-v2")}
        assert found["lingbot"]["checkpoint"] == str(shelf / "lingbot-world-base-cam" / "lingbot_world_fast")
        assert found["lingbot-v2"]["checkpoint"] == str(v2 / "transformers")

    def test_hugging_face_cache(self, checkpoints: Path, tmp_path: Path) -> None:
        self._cached(tmp_path, "lingbot-world-fast", checkpoints / "raw" / "lingbot_world_fast")
        others = shutil.ignore_patterns("lingbot_world_fast")
        base = self._cached(tmp_path, "lingbot-world-base-cam", checkpoints / "raw", others)
        assert base.is_dir()
        told = generate(None, traj="short.yaml")
        assert told.exit_code == 0, told.stderr
        log = log_of(Path("run"))
        assert str(log.plan["checkpoint"]).startswith(
            str(tmp_path / "hub" / "models--robbyant--lingbot-world-fast")
        )

    def test_diffusers_layout_in_the_hugging_face_cache(self, checkpoints: Path, tmp_path: Path) -> None:
        folder = self._cached(tmp_path, "lingbot-world-fast-diffusers", checkpoints / "diffusers")
        assert prepared(None).session.logged["checkpoint"] == str(folder / "transformer")

    @staticmethod
    def _cached(tmp_path: Path, repo: str, files: Path, ignore: object = None) -> Path:
        """Files as huggingface_hub keeps them."""
        home = tmp_path / "hub" / f"models--robbyant--{repo}"
        shutil.copytree(files, home / "snapshots" / "0a1b", ignore=ignore)  # type: ignore[arg-type]
        (home / "refs").mkdir()
        (home / "refs" / "main").write_text("0a1b")
        return home / "snapshots" / "0a1b"


class TestPictures:
    @pytest.mark.parametrize(
        ("shape", "size", "notes"),
        [
            ((1280, 720), (832, 464), 0),
            ((832, 480), (832, 480), 0),
            ((720, 1280), (464, 832), 0),
            ((640, 480), (720, 544), 0),
        ],
    )
    def test_size_of_the_video(
        self, raw: Path, shape: tuple[int, int], size: tuple[int, int], notes: int
    ) -> None:
        Image.new("RGB", shape).save("first.png")
        job = prepared(raw, size=None, traj="short.yaml")
        assert (job.session.frame_size, len(job.notes)) == (size, notes)

    def test_stretching_is_said(self, raw: Path) -> None:
        Image.new("RGB", (96, 72)).save("first.png")
        assert prepared(raw).notes == ("the picture of 96x72 is stretched to 64x64",)
        Image.new("RGB", (832, 480)).save("first.png")
        job = prepared(raw, size=None, conditioning="release", traj="short.yaml")
        assert job.notes == ("the picture of 832x480 is stretched to 832x464",)

    def test_a_turned_photograph(self, raw: Path) -> None:
        picture = Image.new("RGB", (320, 160))
        exif = picture.getexif()
        exif[0x0112] = 8
        picture.save("first.jpg", exif=exif)
        width, height = prepared(raw, image="first.jpg", size=None, traj="short.yaml").session.frame_size
        assert height == pytest.approx(2 * width, rel=0.05)

    @pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
    def test_every_kind_of_colour(self, raw: Path, mode: str) -> None:
        path = Path("first.tiff" if mode == "CMYK" else "first.png")
        Image.new(mode, (64, 64)).save(path)
        assert prepared(raw, image=path).session.inputs == {"image": path}


class TestWhatCanBeAsked:
    def test_another_unit_of_length(self, raw: Path) -> None:
        told = generate(raw, traj="short.yaml", translation_scale=0.25)
        assert told.exit_code == 0, told.stderr
        assert log_of(Path("run")).plan["translation_scale"] == 0.25

    def test_conditioning_of_the_release(self, raw: Path, tmp_path: Path) -> None:
        """The whole script is stretched over the latent frames, what is cut off included."""
        (tmp_path / "long.yaml").write_text("version: 1\nsteps:\n  - move: {forward_units: 1, frames: 31}\n")
        exact = prepared(raw, traj="long.yaml")
        released = prepared(raw, traj="long.yaml", conditioning="release")
        ends = [job.session.viewpoints.positions[-1, 2] for job in (exact, released)]
        assert ends == pytest.approx([20 / 31, 28 / 31])
        told = generate(raw, traj="long.yaml", conditioning="release")
        assert told.exit_code == 0, told.stderr
        log = log_of(Path("run"))
        assert (log.totals.frames, log.config["conditioning"]) == (21, "release")
        assert log.plan["translation_scale"] == pytest.approx(28 / 31 / 5)

    def test_decoding_in_bfloat16_is_close(self, raw: Path) -> None:
        videos = []
        for dtype in ("float32", "bfloat16"):
            assert generate(raw, traj="short.yaml", decode_dtype=dtype, out=dtype).exit_code == 0
            videos.append(read_video(Path(dtype) / "video.mp4"))
        assert (videos[0] != videos[1]).any()
        assert np.mean([psnr(a, b) for a, b in zip(*videos, strict=True)]) > 30

    def test_a_prompt_is_expected(self, raw: Path) -> None:
        said = ("no --prompt is given: the model was trained with one",)
        assert prepared(raw, prompt=None).notes == said
        assert prepared(raw, prompt="  ").notes == said

    def test_a_long_prompt_is_cut_and_that_is_said(self, raw: Path) -> None:
        told = generate(raw, traj="short.yaml", prompt="the castle " * 20)
        assert told.exit_code == 0
        assert told.stderr == "warning: the prompt has 41 tokens: only the first 16 are used\n"
