"""Which video frames a latent frame is."""

from pathlib import Path

import numpy as np
import pytest

from core.report.run_data import run_data
from core.report.source import load_source
from core.report.track import Track
from core.runlog import read_chunks
from tests.core.memory.policy.cameras import viewpoints, yaw_c2w
from tests.core.report.runs import made_up_run


@pytest.mark.parametrize(("chunks", "ends"), [(1, [0, 4, 8]), (2, [0, 4, 8, 12, 16, 20])])
def test_of_the_views_log(tmp_path: Path, chunks: int, ends: list[int]) -> None:
    run = load_source(made_up_run(tmp_path / "run", chunks))
    assert run.track is not None
    assert run.track.latent_ends.tolist() == ends
    assert run_data(run)["stride"] == 4


@pytest.mark.parametrize(("chunks", "ends"), [(1, [0, 4, 8]), (2, [0, 4, 8, 12, 16, 20])])
def test_of_the_plan(tmp_path: Path, chunks: int, ends: list[int]) -> None:
    records = list(read_chunks(made_up_run(tmp_path / "run", chunks) / "chunks.jsonl"))
    c2w = yaw_c2w(np.arange(9.0), np.zeros((9, 3)))
    track = Track.of_plan(np.repeat(c2w, 4, axis=0)[3:], viewpoints(c2w), records)
    assert track.latent_ends.tolist() == ends
    assert track.stride == 4


def test_frames_that_are_latent_frames(worldkv_run: Path) -> None:
    run = load_source(worldkv_run)
    assert run.track is not None
    assert run.track.stride == 1
    records, views = run.chunks[:1], run.track.viewpoints[:3]
    alone = Track.of_plan(run.track.cameras, viewpoints(views), records)
    assert alone.latent_ends.tolist() == [0, 1, 2]
