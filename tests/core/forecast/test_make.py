"""Forecasts without files, against what a run then does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.config import resolve
from core.elements import FLOAT32
from core.fitting import remember
from core.forecast.make import SCHEMA_PATH, forecast_json_schema
from core.forecast.refusal import shortened
from core.generate import prepare
from core.memory.planner import plan_memory
from core.memory.tiers import Room
from core.memory.viewpoints import Viewpoints
from core.models.registry import list_models, model_entry
from core.placement import GIB
from core.runlog import load_run
from core.script import load_script
from tests.core.forecast.plans import foretold, of_flags
from tests.worldkv_cli.generate.runs import LOOK
from trajectories import library_names

MODELS = [entry.name for entry in list_models()]


@pytest.fixture(autouse=True)
def _nothing_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    monkeypatch.delenv("WORLDKV_CHECKPOINTS", raising=False)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "traj",
    [pytest.param(name, marks=[pytest.mark.slow] * (name == "long-patrol")) for name in library_names()],
)
def test_every_bundled_trajectory_without_files(model: str, traj: str) -> None:
    told = foretold(model=model, traj=traj, vram_budget="80GiB", ram_budget="256GiB", device="auto").forecast
    entry = model_entry(model)
    assert told.fits == (told.refusal is None)
    assert told.target.device == ("cuda" if entry.wants_gpu else "cpu")
    assert told.target.there is not entry.wants_gpu
    assert told.target.dtype == ("bfloat16" if entry.wants_gpu else "float32")
    assert any("released checkpoint" in note for note in told.notes) is entry.wants_gpu
    tiers = told.bank.tiers
    assert sum((tiers.device, tiers.host, tiers.disk)) <= told.bank.total_bytes <= told.bank.everything_bytes
    for tier in ("device", "host", "disk"):
        assert max(getattr(moment, tier) for moment in told.bank.moments) == getattr(tiers, tier)
    assert told.memory.device.parts.get("bank", 0) == tiers.device
    peak = told.memory.device
    if told.fits and peak.budget_bytes is not None:
        assert peak.predicted_bytes + peak.reserve_bytes <= peak.budget_bytes
        assert peak.short_bytes == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{}, {"strategy": "pose", "keep_ratio": 0.25}, {"vram_budget": "19900KiB"}, {"memory": "full"}],
    ids=["plain", "pruned", "two tiers", "full"],
)
def test_a_run_is_as_foretold(settings: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "look.yaml").write_text(LOOK)
    fixed = {"traj": str(tmp_path / "look.yaml"), "device": "cpu", "quiet": True, **settings}
    told = foretold(**fixed).forecast
    prepare(resolve({**fixed, "out": tmp_path / "run"}, {})).run()
    log = load_run(tmp_path / "run")
    plan = log.plan
    assert plan["predicted_device_bytes"] == told.memory.device.predicted_bytes
    assert plan["predicted_host_bytes"] == told.memory.host.predicted_bytes
    assert plan["bank_bytes"] == told.bank.total_bytes
    assert plan["bank_host_bytes"] == told.bank.tiers.host
    assert plan["retrieval_recall"] == told.retrieval.recall
    assert plan["revisiting_chunks"] == told.retrieval.revisiting_chunks
    assert plan["window_bytes"] == told.memory.window_bytes
    held = [record.bank_bytes.device for record in log.chunks]
    assert max(held) == told.bank.tiers.device
    assert [moment.device for moment in told.bank.moments] == held
    assert sum(record.read_bytes.device for record in log.chunks) == told.bank.read.device


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "mini", "traj": "look-around", "vram_budget": "18MiB", "ram_budget": "2MiB"},
        {"model": "mini", "traj": "look-around", "vram_budget": "23MiB", "memory": "full"},
        {"model": "lingbot", "traj": "loop", "vram_budget": "24GiB"},
        {
            "model": "lingbot",
            "traj": "loop",
            "vram_budget": "72GiB",
            "ram_budget": "4GiB",
            "weights": "resident",
        },
        {"model": "matrix-game", "traj": "orbit", "vram_budget": "12GiB", "bank": "device", "retrieve": 12},
    ],
    ids=["mini", "mini full", "window", "host", "matrix-game"],
)
def test_what_is_named_fits(settings: dict[str, object]) -> None:
    told = foretold(**settings).forecast
    refusal = told.refusal
    assert refusal is not None
    assert refusal.short_bytes > 0
    assert refusal.ways
    for way in refusal.ways:
        added, *left_out = way.flags.split("without ")
        gone = {key for flags in left_out for key in of_flags(flags.rstrip(", "))}
        kept = {key: value for key, value in settings.items() if key not in gone}
        assert foretold(**{**kept, **of_flags(added.rstrip(", "))}).forecast.fits, way


def test_the_first_chunks_alone_are_planned_exactly() -> None:
    resolved = resolve({"traj": "look-around"}, {})
    entry = model_entry("mini")
    outline = entry.outliner()(resolved.config, load_script(resolved.config, entry))
    whole, views = remember(resolved, outline, FLOAT32), outline.viewpoints
    for chunks in (20, 33, 50):
        frames = slice(3 * chunks)
        cut = Viewpoints(
            c2w=views.c2w[frames],
            intrinsics=views.intrinsics[frames],
            image_size=views.image_size,
            grid=views.grid,
        )
        first = shortened(whole.plan, chunks)
        alone = plan_memory(
            cut, footprint=whole.plan.footprint, layout=first.layout, strategy=whole.memory.strategy
        )
        for room in (Room(), Room(device=200, host=None)):
            assert first.within(room).tier_bytes == alone.within(room).tier_bytes
        assert first.window_bytes == alone.window_bytes


def test_the_largest_rollout_is_the_largest(tmp_path: Path) -> None:
    fixed = {"model": "mini", "memory": "full", "vram_budget": "23MiB"}
    refusal = foretold(traj="look-around", **fixed).forecast.refusal
    assert refusal is not None
    assert refusal.largest is not None
    path = tmp_path / "still.yaml"
    for more, fits in ((0, True), (1, False)):
        path.write_text(f"version: 1\nsteps: [{{hold: {{frames: {refusal.largest.frames + 3 * more}}}}}]\n")
        assert foretold(traj=str(path), **fixed).forecast.fits is fits


def test_an_absent_gpu_is_planned_for_only_when_it_is_meant() -> None:
    told = foretold(model="lingbot", traj="loop", device="cuda", vram_budget="80GiB").forecast
    assert (told.target.device, told.target.hardware) == ("cuda", None)
    assert told.memory.device.reserve_bytes == GIB
    assert any("there is no cuda here" in note for note in told.notes)
    here = foretold(model="lingbot", traj="loop", device="cpu").forecast
    assert (here.target.device, here.target.dtype, here.target.there) == ("cpu", "float32", True)
    assert here.memory.device.reserve_bytes == 0


def test_committed_schema_is_up_to_date() -> None:
    command = "from core.forecast.make import write_forecast_json_schema as w; w()"
    assert json.loads(SCHEMA_PATH.read_text()) == forecast_json_schema(), f'run: python -c "{command}"'
