"""What a report makes of a video's revisits."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from core.report.revisits import score, wanted_pairs
from core.report.source import load_source
from core.video.frames import pick_frames
from core.video.writer import Mp4Writer


def test_a_frozen_video_gains_nothing(worldkv_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "frozen"
    shutil.copytree(worldkv_run, folder, ignore=shutil.ignore_patterns("video.mp4"))
    made = load_source(worldkv_run).video
    assert made is not None
    still = np.random.default_rng(0).integers(0, 256, (made.height // 8, made.width // 8, 3), dtype=np.uint8)
    still = np.kron(still, np.ones((8, 8, 1), dtype=np.uint8))
    with Mp4Writer(folder / "video.mp4", made.width, made.height, fps=made.fps, overwrite=False) as writer:
        writer.push(np.stack([still] * made.num_frames))
    run = load_source(folder)
    assert run.video is not None
    wanted, _ = wanted_pairs(run)
    found = score(wanted, pick_frames(run.video, wanted.frames))
    assert found.mean_psnr_db == pytest.approx(45.1, abs=0.05)
    assert found.mean_control_db == found.mean_psnr_db
