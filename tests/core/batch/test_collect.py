import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from core.batch.collect import collect, json_text, table_text, write_table
from core.batch.loader import Batch
from core.batch.sheet import batch_sheet, read_frames
from core.batch.work import Bench, run_job
from core.errors import InputError, OutputError
from core.runlog import load_run
from core.video.reader import read_video
from tests.core.batch.manifests import load, look

TEXT = """\
version: 1
defaults: {scale: 1}
matrix:
  mode:
    sink: {memory: sink}
    rays: {strategy: rays, traj: ./short.yaml}
  world_seed: [3]
  exclude: [{mode: rays}]
  include: [{mode: rays, world_seed: 4}]
jobs:
  - {name: never, traj: loop}
  - {name: bad, traj: ./nothere.yaml}
"""


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Batch:
    """A job of four chunks and one of one, both done, one that waits and one that failed."""
    batch = load(
        tmp_path_factory.mktemp("batch"), TEXT.replace("{memory: sink}", "{memory: sink, traj: ./look.yaml}")
    )
    for index in (0, 1, 3):
        run_job(batch, batch.jobs[index], Bench())
    return batch


class TestTable:
    def test_a_row_a_job(self, batch: Batch) -> None:
        sink, rays, never, bad = collect(batch, look(batch))
        assert [row["job"] for row in (sink, rays, never, bad)] == ["sink-3", "rays-4", "never", "bad"]
        assert [row["state"] for row in (sink, rays, never, bad)] == ["done", "done", "waiting", "failed"]
        assert (sink["mode"], sink["world_seed"], never["mode"]) == ("sink", 3, None)
        assert (sink["config.memory"], rays["config.memory"]) == ("sink", "worldkv")
        assert "config.scale" not in sink  # the same everywhere
        log = load_run(batch.jobs[0].folder)
        assert sink["totals.frames"] == 12
        assert sink["totals.fps"] == log.totals.fps
        assert sink["totals.mean_ms.denoise"] == log.totals.mean_ms.denoise
        assert sink["plan.window_tokens"] == log.plan["window_tokens"]
        assert sink["device.name"] == "cpu"
        assert (never["totals.frames"], bad["failure"]) == (None, "no such trajectory file")
        assert sink["folder"] == "sink-3"

    def test_all_rows_have_all_columns(self, batch: Batch) -> None:
        rows = collect(batch, look(batch))
        assert len({tuple(row) for row in rows}) == 1

    def test_csv_and_json_say_the_same(self, batch: Batch, tmp_path: Path) -> None:
        rows = collect(batch, look(batch))
        write_table(rows, tmp_path / "deep" / "runs.csv")
        write_table(rows, tmp_path / "runs.json")
        read = list(csv.DictReader(io.StringIO((tmp_path / "deep" / "runs.csv").read_text())))
        loaded = json.loads((tmp_path / "runs.json").read_text())
        assert loaded == rows
        assert [{k: "" if v is None else str(v) for k, v in row.items()} for row in rows] == read
        assert table_text([]) == "\n"
        assert json.loads(json_text([])) == []

    def test_parquet(self, batch: Batch, tmp_path: Path) -> None:
        parquet = pytest.importorskip("pyarrow.parquet")
        rows = collect(batch, look(batch))
        write_table(rows, tmp_path / "runs.parquet")
        assert parquet.read_table(tmp_path / "runs.parquet").to_pylist() == rows

    def test_parquet_without_the_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
        with pytest.raises(InputError, match="Parquet needs the package pyarrow") as caught:
            write_table([{"job": "a"}], tmp_path / "runs.parquet")
        assert caught.value.hint == "pip install pyarrow, or write .csv or .json"

    def test_unknown_format(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"a table has no format '\.xlsx'"):
            write_table([], tmp_path / "runs.xlsx")

    def test_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(OutputError, match="the folder cannot be made"):
            write_table([], tmp_path / "file" / "runs.csv")


class TestSheet:
    def test_frames_of_finished_jobs(self, batch: Batch) -> None:
        one = batch_sheet(look(batch), frames=[0, 2])
        many = batch_sheet(look(batch), num_columns=6, title="rooms")
        assert one.height < many.height  # a title
        assert one.width < many.width

    def test_single_frames(self, batch: Batch) -> None:
        video = batch.jobs[0].folder / "video.mp4"
        whole = read_video(video)
        for number, frame in zip([7, 0, 7], read_frames(video, [7, 0, 7]), strict=True):
            np.testing.assert_array_equal(frame, whole[number])

    def test_frame_that_a_video_does_not_have(self, batch: Batch) -> None:
        with pytest.raises(InputError, match="the video has no frame 5") as caught:
            batch_sheet(look(batch), frames=[0, 5])
        assert caught.value.hint == "its last one is 2"

    def test_nothing_done(self, batch: Batch) -> None:
        with pytest.raises(InputError, match="no job is done"):
            batch_sheet(look(batch)[2:])
