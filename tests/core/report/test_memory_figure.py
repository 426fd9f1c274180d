"""Memory by chunk: what is drawn and what is said of it."""

import re
from pathlib import Path

import pytest

from core.report.memory_figure import memory_figures
from core.report.source import load_source
from tests.core.report.runs import made_up_run

GIB = 1 << 30
SPILT = {"bank_bytes": {"device": 0, "host": 0, "disk": 5 * GIB}}


def figures(tmp_path: Path, *, record: dict | None = None, **plan: int) -> dict[str, tuple[str, str]]:
    run = made_up_run(tmp_path / "run", 6, plan={"memory": "worldkv", **plan}, record=record or {})
    found = memory_figures(load_source(run))
    return {re.findall("Memory: ([a-z]+)", svg)[0]: (svg, caption) for svg, caption in found}


def dashed(svg: str) -> list[float]:
    """Heights of the dashed curve, px from the top."""
    (path,) = re.findall(r'd="([^"]+)" fill="none" style="[^"]+" stroke-width="2" stroke-dasharray', svg)
    return [float(point.split()[1]) for point in re.split("[ML]", path)[1:]]


def test_the_prediction_is_one_peak(tmp_path: Path) -> None:
    svg, caption = figures(tmp_path, predicted_device_bytes=2 * GIB)["device"]
    top, bottom = 14, 200 - 40
    assert dashed(svg) == pytest.approx([bottom - (bottom - top) / 1.15] * 2, abs=0.06)
    assert "Line: measured, peak of the chunk on the device." in caption
    assert "Dashed: the peak predicted before the run, 2 GiB." in caption


def test_without_a_prediction_nothing_is_dashed(tmp_path: Path) -> None:
    svg, caption = figures(tmp_path)["device"]
    assert "stroke-dasharray" not in svg
    assert "Dashed" not in caption


@pytest.mark.parametrize(("budget", "drawn"), [(3, True), (5, False)])
def test_a_budget_is_drawn_or_told(tmp_path: Path, budget: int, drawn: bool) -> None:
    """The device holds 1 GiB, the prediction is 2 GiB: what counts is the higher of both."""
    plan = {"predicted_device_bytes": 2 * GIB, "device_budget_bytes": budget * GIB}
    svg, caption = figures(tmp_path, **plan)["device"]
    assert (f"budget {budget} GiB" in svg) is drawn
    assert (f"The budget, {budget} GiB, lies far above." in caption) is not drawn


@pytest.mark.parametrize(("budget", "drawn"), [(8, True), (12, False)])
def test_of_the_disk_the_bank_counts(tmp_path: Path, budget: int, drawn: bool) -> None:
    """The host's 2 GiB say nothing of the disk's budget."""
    svg, caption = figures(tmp_path, record=SPILT, disk_budget_bytes=budget * GIB)["disk"]
    assert (f"budget {budget} GiB" in svg) is drawn
    assert ("lies far above" in caption) is not drawn
