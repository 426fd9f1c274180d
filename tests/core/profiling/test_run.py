"""A whole profile of the embedded model, and what it reports."""

import csv
import json
import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import InputError
from core.predicted_times import predict_chunk, predict_times
from core.profiling.output import (
    SCHEMA_PATH,
    load_report,
    open_folder,
    profile_json_schema,
    write_report,
)
from core.profiling.plots import write_plots
from core.profiling.run import Watch, run_profile
from core.schemas.profile import CellProfile, ProfileReport
from tests.core.profiling.small import SETTINGS, cells, outcome


def report() -> ProfileReport:
    return outcome().report


def by_mode() -> dict[str, CellProfile]:
    return {cell.mode: cell for cell in report().cells}


class TestReport:
    def test_every_chunk_of_every_rollout_is_there(self) -> None:
        for cell in report().cells:
            found = sorted((each.repeat, each.chunk) for each in cell.chunks)
            assert found == [(0, chunk) for chunk in range(8)]
            assert [length.chunks for length in cell.lengths] == [6, 8]
            assert sum(each.warm_up for each in cell.chunks) == 2
            assert cell.warm_up_ms is not None

    def test_ratios(self) -> None:
        told = [(ratio.of, ratio.to, ratio.chunks) for ratio in report().ratios]
        assert told == [
            ("worldkv", "full", 6),
            ("worldkv", "full", 8),
            ("worldkv", "sliding", 6),
            ("worldkv", "sliding", 8),
            ("full", "chunk 6", 8),
            ("sliding", "chunk 6", 8),
            ("worldkv", "chunk 6", 8),
        ]
        assert all(ratio.value.low <= ratio.value.median <= ratio.value.high for ratio in report().ratios)
        # Pairs of the first length lack the warm-up's chunk 1, which is among its last five.
        counts = {(ratio.to, ratio.chunks): ratio.value.count for ratio in report().ratios}
        assert counts["full", 8] == 5
        assert counts["full", 6] == 4
        assert counts["chunk 6", 8] == 4

    def test_keys_and_memory_follow_the_plan(self) -> None:
        full, worldkv = by_mode()["full"], by_mode()["worldkv"]
        assert [length.window_tokens for length in full.lengths] == [6 * 45, 8 * 45]
        per_token = cells()[0].plan.footprint.kv_bytes_per_token
        assert full.lengths[-1].kv_bytes == 8 * 45 * per_token
        assert worldkv.lengths[-1].kv_bytes <= worldkv.window_bytes + worldkv.bank_bytes

    def test_limit_of_the_hardware(self) -> None:
        for cell in report().cells:
            line = cell.roofline
            assert line is not None
            assert 0 < line.share < 1
            assert line.share == pytest.approx(line.least_ms / line.measured_ms)
        assert report().hardware.to_device_bytes_per_s is None

    def test_overhead_adds_up(self) -> None:
        for cell in report().cells:
            found = cell.overhead
            assert found is not None
            assert found.chunk == 7
            assert 0 < found.outside_share < 1
            assert len(found.largest) == 3
            rest = found.chunk_ms * found.outside_share
            assert sum(each.ms for each in found.largest) <= rest * 1.001
            busy = found.product_ms + found.attention_ms
            assert busy + rest == pytest.approx(found.chunk_ms, rel=1e-6)

    def test_what_ran_is_told(self) -> None:
        told = report()
        assert (told.one_layer, told.every_chunk) == (False, True)
        assert (told.status, told.model, told.dtype, told.interleaving) == (
            "done",
            "mini",
            "float32",
            "chunk",
        )
        assert told.network.frame_size == (80, 48)
        assert told.network.passes == 4
        assert set(told.load_s) == {"weights"}
        assert told.writing is not None
        assert told.writing.frame_ms > 0
        assert (told.writing.width, told.writing.height) == (640, 384)
        assert "sliding sees as many tokens as worldkv" in told.notes

    def test_calibration_foretells_the_rollout(self) -> None:
        """Loosely: tests share their machine. What it reaches on a quiet one stands in the README."""
        found = outcome().calibration
        assert found is not None
        assert (found.model, found.dtype, found.video_stride) == ("mini", "float32", 1)
        worldkv = cells()[2]
        told = predict_times(found, worldkv.plan, frame_size=(80, 48), passes=4)
        assert told.num_frames == 24
        chunks = [predict_chunk(found, worldkv.plan, chunk, passes=4) for chunk in range(2, 8)]
        measured = [each for each in by_mode()["worldkv"].chunks if not each.warm_up]
        ratios = [a.total_s * 1e3 / b.chunk_ms for a, b in zip(chunks, measured, strict=True)]
        assert 1 / 3 < statistics.median(ratios) < 3


class TestRuns:
    def test_stopped_early_tells_what_was_measured(self) -> None:
        done = []
        found = run_profile(
            SETTINGS,
            {},
            watch=Watch(on_chunk=lambda *told: done.append(told)),
            stop=lambda: len(done) >= 7,
        )
        assert found.report.status == "interrupted"
        assert sum(len(cell.chunks) for cell in found.report.cells) == 7
        assert done[-1][:2] == (7, 24)
        assert found.calibration is None

    def test_interrupted_while_loading(self) -> None:
        def loading(*_: object) -> None:
            raise KeyboardInterrupt

        small = replace(
            SETTINGS, model="matrix-game", random_weights=True, scale=0.05, settings={"size": "64x64"}
        )
        found = run_profile(small, {}, watch=Watch(on_load=loading))
        assert (found.report.status, found.report.network) == ("interrupted", None)

    def test_what_does_not_fit_is_told_and_the_rest_measured(self) -> None:
        needed = cells()[0].placement.device_bytes  # of full, the largest
        tight = replace(SETTINGS, modes=("full", "sink"), budgets=(needed - 1,), lengths=(8,))
        found = run_profile(tight, {}).report
        full, sink = found.cells
        assert full.refused is not None
        assert "8 chunks need" in full.refused
        assert full.chunks == ()
        assert (sink.refused, len(sink.chunks)) == (None, 8)
        assert found.ratios == ()

    def test_nothing_fits(self) -> None:
        with pytest.raises(InputError, match="nothing of the grid fits"):
            run_profile(replace(SETTINGS, budgets=(1000,)), {})

    def test_one_layer_times_what_does_not_fit(self) -> None:
        found = run_profile(replace(SETTINGS, budgets=(1000,), one_layer=True, modes=("full",)), {}).report
        (full,) = found.cells
        assert full.refused is not None
        assert len(full.chunks) == 8
        assert "all layers share one layer's keys and values: times are real, memory is not" in found.notes


class TestFiles:
    def test_report_and_table(self, tmp_path: Path) -> None:
        write_report(report(), tmp_path)
        assert load_report(tmp_path) == report()
        with (tmp_path / "profile.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 3 * 8
        first, chunk = rows[0], report().cells[0].chunks[0]
        assert (first["mode"], first["budget_bytes"]) == ("full", "")
        assert float(first["denoise_ms"]) == chunk.denoise_ms

    def test_committed_schema_is_up_to_date(self) -> None:
        command = "from core.profiling.output import write_profile_json_schema as w; w()"
        assert json.loads(SCHEMA_PATH.read_text()) == profile_json_schema(), f'run: python -c "{command}"'

    def test_folder_that_holds_something_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "profile.json").write_text("mine")
        with pytest.raises(InputError, match="the output folder is not empty: profile"):
            open_folder(tmp_path, SETTINGS)
        assert (tmp_path / "profile.json").read_text() == "mine"

    def test_figures(self, tmp_path: Path) -> None:
        written = write_plots(report(), tmp_path)
        assert sorted(path.name for path in written) == sorted(
            f"{name}.{kind}"
            for name in ("chunk-time", "memory", "ratios", "stages")
            for kind in ("png", "svg")
        )
        for path in written:
            if path.suffix == ".png":
                assert path.read_bytes().startswith(b"\x89PNG")
                continue
            text = path.read_text()
            labels = {
                "chunk-time": "rollout length (chunks)",
                "memory": "most in use by then (MiB)",
                "stages": "median time before chunk 8 (ms per chunk)",
                "ratios": "ratio: median and quartiles; filled: processor time, hollow: time",
            }
            assert labels[path.stem] in text
            assert all(mode in text for mode in ("full", "sliding", "worldkv"))

    def test_figures_of_probes_and_several_budgets(self, tmp_path: Path) -> None:
        told = report()
        twice = tuple(
            cell.model_copy(update={"budget_bytes": budget})
            for budget in (1 << 30, 2 << 30)
            for cell in told.cells
        )
        write_plots(told.model_copy(update={"cells": twice, "every_chunk": False}), tmp_path)
        text = (tmp_path / "chunk-time.svg").read_text()
        assert "budget 1 GiB" in text
        assert "budget 2 GiB" in text
