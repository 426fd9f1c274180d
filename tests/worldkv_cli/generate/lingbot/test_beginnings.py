"""Runs that start from a clip, and runs that are stopped before they start."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from core.fidelity.pictures import psnr
from core.models.wan.codec import StreamingDecoder, StreamingEncoder
from core.models.wan.codec_condition import PictureCondition
from core.models.wan.pictures import resize
from core.models.wan.vae import load_vae
from core.placement import Turns
from core.runlog import hash_file
from core.video.reader import read_video, video_info
from core.video.writer import Mp4Writer
from tests.tiny_lingbot import VAE
from tests.worldkv_cli.generate.lingbot.runs import arguments, generate, prepared
from tests.worldkv_cli.generate.runs import log_of, spawn_and_wait

CPU = torch.device("cpu")
CLIP = {"image": None, "prefix": "clip.mp4", "prefix_traj": "path.yaml", "traj": "short.yaml", "fit": "pad"}


@pytest.fixture
def clip(tmp_path: Path) -> np.ndarray:
    """clip.mp4 of 23 frames of 64x64, of which two fill no chunk, and its path; the frames that are used."""
    ramp = np.add.outer(np.arange(64), np.arange(64)) + np.zeros((3, 1, 1), int)
    frames = np.stack([(ramp * [[[1]], [[2]], [[0]]] + 6 * i).clip(0, 255) for i in range(23)])
    with Mp4Writer(tmp_path / "clip.mp4", 64, 64, 16.0, overwrite=False) as writer:
        writer.push(frames.astype(np.uint8).transpose(0, 2, 3, 1))
    (tmp_path / "path.yaml").write_text("version: 1\nsteps:\n  - turn: {yaw_deg: 40, frames: 22}\n")
    return read_video(tmp_path / "clip.mp4")[:21]


class TestClip:
    @pytest.mark.slow
    def test_comes_first(self, raw: Path, clip: np.ndarray) -> None:
        told = generate(raw, **CLIP)
        assert told.exit_code == 0, told.stderr
        assert told.stderr == (
            "warning: the last 2 of the prefix's 23 cameras do not fill a chunk and are left out\n"
            "warning: the last pose is held for 4 more video frames, 33 in all\n"
        )
        log = log_of(Path("run"))
        assert [(chunk.given, chunk.num_frames) for chunk in log.chunks] == [
            (True, 9),
            (True, 12),
            (False, 12),
        ]
        assert log.inputs["prefix"].sha256 == hash_file(Path("clip.mp4")).sha256
        assert log.inputs["prefix_traj"].path == "path.yaml"
        vae = load_vae(raw / VAE, device=CPU)
        latents = StreamingEncoder(vae).push(resize(clip, (64, 64)).transpose(0, 1)[None])
        there_and_back = StreamingDecoder(vae).push(latents)[0]
        video = read_video(Path("run/video.mp4"))
        assert len(video) == 33
        shown, other = (
            np.mean([psnr(a, b) for a, b in zip(video[:21], expected, strict=True)])
            for expected in (there_and_back, there_and_back[::-1])
        )
        assert shown > 24 > 18 > other, (shown, other)  # of noise, the video keeps that much

    def test_latents_are_those_of_the_whole_clip(self, raw: Path, clip: np.ndarray) -> None:
        job = prepared(raw, **CLIP)
        model = job.session.load(CPU, torch.float32, Turns())
        assert model.given is not None
        chunks = [model.given(chunk) for chunk in range(3)]
        assert chunks[2] is None
        vae = load_vae(raw / VAE, device=CPU)
        whole = StreamingEncoder(vae).push(resize(clip, (64, 64)).transpose(0, 1)[None])
        assert torch.equal(torch.cat(chunks[:2], dim=2), whole)
        told = model.controls._picture.channels(range(3))
        assert torch.equal(told[:, 4:, :1], whole[:, :, :1])  # its first frame is the first picture
        assert told[:, :4].sum() == 4 * 8 * 8

    def test_both_codecs_count(self, raw: Path, clip: np.ndarray) -> None:
        """The one that encodes stays, in float32, while another one decodes."""
        held = [
            prepared(raw, **CLIP, decode_dtype=dtype)
            .session.load(CPU, torch.float32, Turns())
            .parameter_bytes
            for dtype in ("float32", "bfloat16")
        ]
        assert held[1] - held[0] == load_vae(raw / VAE, device=CPU, dtype=torch.bfloat16).parameter_bytes

    def test_goes_on_in_chunks_of_four(self, checkpoints: Path, clip: np.ndarray) -> None:
        told = generate(checkpoints / "v2", **CLIP, model="lingbot-v2")
        assert told.exit_code == 0, told.stderr
        log = log_of(Path("run"))
        assert [(chunk.given, chunk.num_frames) for chunk in log.chunks] == [(True, 13), (False, 16)]

    def test_size_is_the_clips(self, raw: Path, clip: np.ndarray) -> None:
        assert prepared(raw, **CLIP, size=None).session.frame_size == (624, 624)


class TestStopped:
    @pytest.mark.slow
    def test_while_weights_load(self, raw: Path) -> None:
        """Ctrl-C in a process of its own: no traceback, and the log says what happened."""
        driver = (
            "import os, signal\n"
            "import core.models.lingbot.session as session\n"
            "load = session.load_transformer\n"
            "def stopped(*given, on_progress, **named):\n"
            "    def told(done, total):\n"
            "        if 2 * done > total: os.kill(os.getpid(), signal.SIGINT)\n"
            "        on_progress(done, total)\n"
            "    return load(*given, on_progress=told, **named)\n"
            "session.load_transformer = stopped\n"
        )
        cache = os.environ["XDG_CACHE_HOME"]
        told = spawn_and_wait(*arguments(raw, traj="short.yaml"), driver=driver, XDG_CACHE_HOME=cache)
        assert (told.exit_code, told.stdout) == (130, "run\n")
        assert told.stderr == "interrupted: no chunk was finished\n"
        log = log_of(Path("run"))
        assert (log.status, log.failure, log.chunks, log.video) == ("interrupted", None, (), None)
        assert log.finished_at is not None
        assert sorted(path.name for path in Path("run").iterdir()) == ["chunks.jsonl", "run.json"]

    def test_while_the_picture_is_encoded(self, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """At 480p on a CPU that takes minutes: it must not be waited for."""
        frames, made = PictureCondition.frames, []

        def stopping(self: PictureCondition, start: int, stop: int) -> torch.Tensor:
            made.append(start)
            if start == 2:
                os.kill(os.getpid(), signal.SIGINT)
            return frames(self, start, stop)

        monkeypatch.setattr(PictureCondition, "frames", stopping)
        told = generate(raw)
        assert (told.exit_code, told.stdout) == (130, "run\n")
        assert told.stderr == "interrupted: no chunk was finished\n"
        assert made == [0, 1, 2]
        assert log_of(Path("run")).status == "interrupted"

    def test_after_a_chunk(self, raw: Path) -> None:
        job = prepared(raw, traj="middle.yaml")

        def stop(record: object) -> None:
            os.kill(os.getpid(), signal.SIGINT)

        summary, folder = job.run(stop)
        assert (summary.status, summary.totals.chunks) == ("interrupted", 1)
        assert video_info(folder / "video.mp4").num_frames == 9

    def test_what_is_loaded_is_told(self, raw: Path) -> None:
        told: list[tuple[str, int, int]] = []
        prepared(raw, traj="short.yaml").run(on_load=lambda *each: told.append(each))
        words = list(dict.fromkeys(what for what, _, _ in told))
        assert words == ["text encoder", "codec", "first picture", "transformer"]
        done = [(done, total) for what, done, total in told if what == "transformer"]
        assert done == sorted(done)
        assert done[-1] == (3_582_720, 3_582_720)
