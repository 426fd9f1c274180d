"""The arithmetic of predicted times, with timings made up so that the answer is known."""

import json
import logging
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from core.calibration import (
    Calibration,
    age,
    calibration_path,
    keep_better,
    load_calibration,
    save_calibration,
)
from core.memory.footprint import Footprint
from core.memory.layout import MemoryMode, WindowLayout
from core.memory.plan import MemoryPlan
from core.memory.planner import plan_memory
from core.memory.strategies import strategy
from core.memory.tiers import Room
from core.predicted_times import predict_chunk, predict_times
from core.profiling.fit import Sample, fit_calibration, least_squares
from tests.core.memory.policy.cameras import viewpoints, yaw_c2w

PASSES = 4
TOKEN_FLOPS = 2e6
FOOTPRINT = Footprint(
    num_layers=2, num_heads=2, head_dim=8, grid=(3, 4), kv_element_bytes=4, parameter_bytes=1000
)
WIDTH = 2 * 2 * 8
KNOWN = {
    "model": "mini",
    "device_name": "abacus",
    "dtype": "float32",
    "torch_version": "2.13.0",
    "made_at": datetime(2026, 1, 1, tzinfo=UTC),
    "decode_ms_per_megapixel": 10.0,
    "write_ms_per_megapixel": 2.0,
    "write_fixed_ms": 100.0,
    "encode_ms_per_megapixel": 1.0,
    "display_scale": 2,
    "video_stride": 4,
    "load_s": 3.0,
    "encode_s": 1.0,
}
TRUE = {
    "token_flops": TOKEN_FLOPS,
    "pass_overhead_ms": 2.0,
    "token_flops_per_s": 5e9,
    "attention_flops_per_s": 1e9,
    "prepare_ms_per_token": 0.05,
    "store_s_per_byte": 2e-9,
    "retrieve_fixed_ms": 0.3,
    "read_s_per_byte": {"device": 4e-9},
}
FITTED = {
    "tokens_per_chunk": 36,
    "fewest_keys": 36,
    "most_keys": 2000,
    "fitted_chunks": 30,
    "held_out_chunks": 10,
    "median_error": 0.1,
    "largest_error": 0.2,
}
EXACT = Calibration(**TRUE, **KNOWN, **FITTED)


def plan(mode: str = "worldkv", num_chunks: int = 24) -> MemoryPlan:
    """Forth and back, again and again."""
    turn = [10.0 * abs((i % 24) - 12) for i in range(3 * num_chunks)]
    views = viewpoints(yaw_c2w(turn), grid=(3, 4))
    retrieves = mode == "worldkv"
    layout = WindowLayout(
        mode=MemoryMode(mode),
        num_frames=views.num_frames,
        tokens_per_frame=12,
        sink_frames=3 if mode in ("sink", "worldkv") else 0,
        recent_frames=3,
        retrieve_tokens=72 if retrieves else 0,
    )
    chooser = strategy("pose")(num_chunks=2) if retrieves else None
    return plan_memory(views, footprint=FOOTPRINT, layout=layout, strategy=chooser)


def samples(*plans: MemoryPlan, noise: float = 0.0) -> list[Sample]:
    """Chunks that take exactly what `EXACT` says, or about that."""
    draw, found = np.random.default_rng(0), []
    for each in plans:
        for chunk in range(len(each.steps)):
            told = predict_chunk(EXACT, each, chunk, passes=PASSES)
            times = [told.retrieve_s, told.denoise_s, told.commit_s]
            retrieve, denoise, commit = (1e3 * t * (1 + noise * draw.standard_normal()) for t in times)
            found.append(
                Sample(
                    plan=each,
                    chunk=chunk,
                    retrieve_ms=retrieve,
                    denoise_ms=denoise,
                    commit_ms=commit,
                )
            )
    return found


def fitted(some: list[Sample], overhead_ms: float = 2.0) -> Calibration | None:
    return fit_calibration(some, passes=PASSES, token_flops=TOKEN_FLOPS, overhead_ms=overhead_ms, **KNOWN)


class TestPrediction:
    def test_one_chunk_by_hand(self) -> None:
        full = plan("full", num_chunks=4)
        told = predict_chunk(EXACT, full, 2, passes=PASSES)
        keys = 3 * 36
        one_pass = 2e-3 + 36 * TOKEN_FLOPS / 5e9 + 4 * 36 * keys * WIDTH / 1e9
        assert told.denoise_s == pytest.approx(36 * 0.05e-3 + 4 * one_pass)
        assert told.commit_s == pytest.approx(one_pass)
        assert told.retrieve_s == pytest.approx(0.3e-3)

    def test_bank_costs_what_is_moved(self) -> None:
        worldkv = plan()
        step = next(step for step in worldkv.steps if step.num_inserted and step.num_stored)
        told = predict_chunk(EXACT, worldkv, step.chunk, passes=PASSES)
        token_bytes = 2 * WIDTH * 4
        assert told.retrieve_s == pytest.approx(0.3e-3 + step.num_inserted * token_bytes * 4e-9)
        free = EXACT.model_copy(update={"store_s_per_byte": 0.0})
        without = predict_chunk(free, worldkv, step.chunk, passes=PASSES)
        assert told.commit_s - without.commit_s == pytest.approx(step.num_stored * token_bytes * 2e-9)

    def test_whole_rollout_is_the_sum(self) -> None:
        worldkv = plan()
        told = predict_times(EXACT, worldkv, frame_size=(64, 48), passes=PASSES)
        chunks = [predict_chunk(EXACT, worldkv, c, passes=PASSES) for c in range(24)]
        num_frames = 1 + (72 - 1) * 4
        megapixels = num_frames * 64 * 48 / 1e6
        assert told.num_frames == num_frames
        assert told.decode_s == pytest.approx(megapixels * 10e-3)
        assert told.write_s == pytest.approx(4 * megapixels * 2e-3 + 0.1)
        made = sum(chunk.total_s for chunk in chunks) + told.decode_s
        assert told.denoise_s == pytest.approx(sum(chunk.denoise_s for chunk in chunks))
        assert told.total_s == pytest.approx(3 + 1 + made + told.write_s)
        assert told.fps == pytest.approx(num_frames / (told.total_s - 4))
        assert told.last_chunk_s == chunks[-1].total_s
        assert told.error == (0.1, 0.2)
        assert told.notes == ()
        assert "abacus" in told.how

    def test_encoding_beside_the_rollout_counts_only_where_it_is_slower(self) -> None:
        worldkv = plan()
        told = predict_times(EXACT, worldkv, frame_size=(64, 48), passes=PASSES)
        free = EXACT.model_copy(update={"encode_ms_per_megapixel": 0.0})
        assert predict_times(free, worldkv, frame_size=(64, 48), passes=PASSES).total_s == told.total_s
        slow = EXACT.model_copy(update={"encode_ms_per_megapixel": 1e5})
        encoded = told.num_frames * 64 * 48 * 4 / 1e6 * 100
        told = predict_times(slow, worldkv, frame_size=(64, 48), passes=PASSES)
        assert told.total_s == pytest.approx(4 + encoded + 0.1)

    def test_what_was_not_measured_is_said(self) -> None:
        narrow = EXACT.model_copy(update={"most_keys": 90, "tokens_per_chunk": 45})
        on_host = plan().within(Room.only("host"))
        told = predict_times(narrow, on_host, frame_size=(64, 48), passes=PASSES)
        assert told.notes == (
            "chunks attend to 180 keys, the profile to 90 at most",
            "chunks have 36 tokens, the profile's 45",
            "reading the bank's host tier was not measured",
        )
        assert told.retrieve_s > 0


class TestFit:
    def test_exact_timings_give_the_rates_back(self) -> None:
        found = fitted(samples(plan("full"), plan()))
        assert found is not None
        for name, value in TRUE.items():
            assert getattr(found, name) == pytest.approx(value, rel=1e-6), name
        assert found.largest_error < 1e-6
        assert (found.fewest_keys, found.most_keys) == (36, 24 * 36)
        assert (found.fitted_chunks, found.held_out_chunks) == (36, 12)

    def test_another_rollout_is_foretold(self) -> None:
        """Fitted to noisy short rollouts of two modes, asked about a longer one of another."""
        found = fitted(samples(plan("full", 12), plan("worldkv", 12), noise=0.1))
        assert found is not None
        other = plan("sink", 48)
        told = predict_times(found, other, frame_size=(64, 48), passes=PASSES)
        true = predict_times(EXACT, other, frame_size=(64, 48), passes=PASSES)
        assert told.total_s == pytest.approx(true.total_s, rel=0.1)
        assert 0 < found.median_error < 0.25

    def test_attention_cannot_be_told_apart_where_keys_do_not_vary(self) -> None:
        steady = [s for s in samples(plan("sliding")) if s.keys == 72]
        found = fitted(steady)
        assert found is not None
        assert found.largest_error < 1e-6
        slow = 1e3 * predict_chunk(found, plan("full"), 20, passes=PASSES).total_s
        assert slow > 1e3 * predict_chunk(found, plan("full"), 4, passes=PASSES).total_s

    def test_overhead_is_never_more_than_a_pass(self) -> None:
        found = fitted(samples(plan("full")), overhead_ms=1e6)
        assert found is not None
        assert found.token_flops_per_s > 0
        assert found.largest_error < 1e-6

    def test_too_few_chunks(self) -> None:
        assert fitted(samples(plan())[:6]) is None

    def test_rates_are_never_negative(self) -> None:
        rows = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
        assert least_squares(rows, np.array([3.0, 2.0, 1.0]))[1] == 0
        assert least_squares(rows, np.array([2.0, 3.0, 4.0])) == pytest.approx([1.0, 1.0])


class TestFile:
    def load(self, path: Path, **changes: str) -> Calibration | None:
        wanted = {"model": "mini", "device_name": "abacus", "dtype": "torch.float32", **changes}
        return load_calibration(**wanted, torch_version="2.13.0+cpu", path=path)

    def test_what_is_saved_is_found_again(self, tmp_path: Path) -> None:
        path = tmp_path / "deep" / "calibration.json"
        other = EXACT.model_copy(update={"model": "lingbot", "load_s": 60.0})
        assert save_calibration(EXACT, path=path) == path
        assert save_calibration(other, path=path) == path
        assert self.load(path) == EXACT
        assert self.load(path, model="lingbot") == other
        assert self.load(path, dtype="bfloat16") is None
        assert self.load(path, device_name="slide rule") is None
        assert [entry.name for entry in path.parent.iterdir()] == ["calibration.json"]

    def test_newer_profile_replaces_the_older(self, tmp_path: Path) -> None:
        path = tmp_path / "c.json"
        save_calibration(EXACT, path=path)
        save_calibration(EXACT.model_copy(update={"load_s": 9.0}), path=path)
        found = self.load(path)
        assert found is not None
        assert found.load_s == 9.0
        assert len(json.loads(path.read_text())["calibrations"]) == 1

    @pytest.mark.parametrize(
        "text", ["", "[]", "{", '{"version": 9}', '{"version": 1, "calibrations": {"a": 1}}']
    )
    def test_damaged_file_is_ignored_and_replaced(
        self, tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = tmp_path / "c.json"
        path.write_text(text)
        with caplog.at_level(logging.WARNING):
            assert self.load(path) is None
        assert f"the calibration {path} is ignored" in caplog.text
        save_calibration(EXACT, path=path)
        assert self.load(path) == EXACT

    def test_no_file_is_nothing_to_speak_of(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        assert self.load(tmp_path / "c.json") is None
        assert caplog.text == ""

    def test_folder_that_cannot_be_written(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        (tmp_path / "file").touch()
        assert save_calibration(EXACT, path=tmp_path / "file" / "c.json") is None
        assert "the calibration is not kept" in caplog.text

    def test_lies_in_the_cache_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert calibration_path() == tmp_path / "worldkv" / "calibration.json"
        monkeypatch.setenv("XDG_CACHE_HOME", "relative")
        assert calibration_path() == Path.home() / ".cache" / "worldkv" / "calibration.json"


@pytest.mark.parametrize(
    ("threads", "cores", "told_s"),
    [(None, None, 3.0), (2, 2, 5.0), (1, 2, 4.0), (1, 4, 3.5), (4, 2, 5.0)],
)
def test_on_a_cpu_encoding_takes_cores_from_the_rollout(
    threads: int | None, cores: int | None, told_s: float
) -> None:
    """A rollout of 2 s and an encoding of 3 s."""
    alone = predict_times(EXACT, plan(), frame_size=(8, 8), passes=PASSES)
    made = alone.retrieve_s + alone.denoise_s + alone.commit_s + alone.decode_s + alone.write_s - 0.1
    megapixels = alone.num_frames * 64 * 4 / 1e6
    slow = {"encode_ms_per_megapixel": 1.5e3 * made / megapixels, "threads": threads, "cores": cores}
    told = predict_times(EXACT.model_copy(update=slow), plan(), frame_size=(8, 8), passes=PASSES)
    assert told.total_s - 4.0 - 0.1 == pytest.approx(told_s / 2 * made)


class TestBetter:
    """A short profile, made to look at something else, does not spoil the predictions."""

    LONG = EXACT.model_copy(
        update={
            "worldkv_version": "1",
            "threads": 2,
            "num_chunks": 90,
            "repeats": 3,
            "modes": ("full", "worldkv"),
            "turns": (),
        }
    )

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"num_chunks": 10}, "its rollouts are longer, 90 chunks against 10"),
            ({"num_chunks": 10, "repeats": 9}, "its rollouts are longer, 90 chunks against 10"),
            ({"repeats": 1}, "it has more repeats, 3 against 1"),
            ({"modes": ("worldkv",)}, "it knows more modes: full"),
            ({}, ""),
            ({"num_chunks": 120, "repeats": 1}, ""),
            ({"repeats": 4, "modes": ("worldkv",)}, ""),
            ({"num_chunks": 10, "threads": 1}, ""),
            ({"num_chunks": 10, "turns": ("the network's weights are int8",)}, ""),
            ({"num_chunks": 10, "worldkv_version": "2"}, ""),
        ],
    )
    def test_the_longer_one_stays(self, tmp_path: Path, changes: dict[str, object], reason: str) -> None:
        path = tmp_path / "c.json"
        newer = self.LONG.model_copy(update={**changes, "load_s": 9.0})
        assert keep_better(self.LONG, path=path).reason == ""
        kept = keep_better(newer, path=path)
        assert (kept.path, kept.reason) == (path, reason)
        assert kept.calibration == (self.LONG if reason else newer)
        found = load_calibration("mini", "abacus", "float32", torch_version="2.13.0", path=path)
        assert found == kept.calibration

    def test_the_newer_one_counts_if_it_is_to(self, tmp_path: Path) -> None:
        path = tmp_path / "c.json"
        keep_better(self.LONG, path=path)
        short = self.LONG.model_copy(update={"num_chunks": 10, "load_s": 9.0})
        assert keep_better(short, anew=True, path=path).calibration == short
        found = load_calibration("mini", "abacus", "float32", torch_version="2.13.0", path=path)
        assert found == short

    def test_file_older_than_turns_gives_no_doubt_and_no_reason_to_stay(self, tmp_path: Path) -> None:
        path = tmp_path / "c.json"
        save_calibration(self.LONG, path=path)
        content = json.loads(path.read_text())
        del content["calibrations"][self.LONG.key]["turns"]
        path.write_text(json.dumps(content))
        older = load_calibration("mini", "abacus", "float32", torch_version="2.13.0", path=path)
        assert older is not None
        assert older.turns is None
        told = predict_times(older, plan(), frame_size=(8, 8), passes=PASSES, turns=("weights are int8",))
        assert told.notes == ("the profile was made with worldkv 1",)
        newer = self.LONG.model_copy(update={"num_chunks": 10})
        assert keep_better(newer, path=path).reason == ""

    def test_a_prediction_tells_whose_it_is(self) -> None:
        ours = self.LONG.model_copy(update={"made_at": datetime.now(UTC) - timedelta(hours=50)})
        told = predict_times(ours, plan(), frame_size=(8, 8), passes=PASSES, turns=("weights are int8",))
        assert f"by the profile of {ours.made_at:%Y-%m-%d}, 2 days old, on abacus (2 threads): " in told.how
        assert "3 rollouts of 90 chunks with full, worldkv; fitted to 30 chunks" in told.how
        assert told.notes == (
            "the profile was made with worldkv 1",
            "the profile ran with nothing turned, this with weights are int8",
        )

    @pytest.mark.parametrize(
        ("seconds", "told"),
        [(-5, "less than a minute"), (60, "1 minute"), (7300, "2 hours"), (90000, "1 day")],
    )
    def test_age(self, seconds: float, told: str) -> None:
        assert age(datetime.now(UTC) - timedelta(seconds=seconds)) == told


def test_knows_no_torch() -> None:
    code = "import sys, core.calibration, core.predicted_times; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_samples_know_their_work() -> None:
    sample = samples(plan("full"))[5]
    assert sample.attention_flops == 4 * 36 * 6 * 36 * WIDTH
    assert replace(sample, chunk=0).keys == 36
