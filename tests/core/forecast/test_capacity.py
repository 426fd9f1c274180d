"""How long a rollout could be, against plans of rollouts that are so long."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.elements import NUMBER_FORMATS
from core.forecast.capacity import capacities
from core.limits import CUDA_RESERVE_BYTES
from core.models.registry import model_entry
from core.placement import GIB, Budgets
from tests.core.forecast.plans import foretold

BF16 = NUMBER_FORMATS["bfloat16"]


@pytest.fixture(autouse=True)
def _nothing_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("WORLDKV_CHECKPOINTS", raising=False)


@pytest.mark.parametrize(("vram", "chunks"), [(80, 20), (200, None)])
def test_full_memory_ends_where_the_plan_says(vram: int, chunks: int | None, tmp_path: Path) -> None:
    entry, limits = model_entry("lingbot"), Budgets(vram * GIB, 256 * GIB, reserve=CUDA_RESERVE_BYTES)
    full = next(each for each in capacities(entry, limits, BF16) if each.memory == "full")
    assert full.chunks is not None
    assert full.chunks == (chunks or full.chunks)
    path = tmp_path / "still.yaml"
    for more, fits in ((0, True), (1, False)):
        frames = entry.first_chunk_frames(3) + (full.chunks - 1 + more) * entry.later_chunk_frames(3)
        path.write_text(f"version: 1\nsteps: [{{hold: {{frames: {frames}}}}}]\n")
        budgets = {"vram_budget": f"{vram}GiB", "ram_budget": "256GiB"}
        told = foretold(model="lingbot", traj=str(path), memory="full", **budgets)
        assert told.forecast.fits is fits


def test_flat_modes_go_on_for_ever_or_not_at_all() -> None:
    entry = model_entry("lingbot")
    for vram, fits in ((80, True), (8, False)):
        found = {each.memory: each for each in capacities(entry, Budgets(vram * GIB, 16 * GIB), BF16)}
        assert [found[mode].fits for mode in ("sliding", "sink")] == [fits, fits]
        assert found["sink"].chunks is None
        assert (found["sink"].short_bytes > 0) is not fits


def test_more_host_memory_remembers_more() -> None:
    entry = model_entry("matrix-game")
    lengths = []
    for host in (8, 64):
        found = {each.memory: each for each in capacities(entry, Budgets(24 * GIB, host * GIB), BF16)}
        lengths.append(found["worldkv"].chunks)
    assert None not in lengths
    assert lengths[1] - lengths[0] == pytest.approx(56 * GIB / (2640 * 184_320), abs=2)
