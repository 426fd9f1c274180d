"""Large models at a tiny share of their size with random weights: every memory mode runs."""

from dataclasses import replace

import pytest
import torch

from core.models.wan.weights_placement import WeightPlacement
from core.profiling.engine import open_session, plan_cell
from core.profiling.random_weights import random_network, random_vae
from core.profiling.run import run_profile
from core.profiling.settings import ProfileSettings
from core.profiling.sizes import model_sizes
from core.schemas.profile import ProfileReport

CPU = torch.device("cpu")
NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
TINY = {"size": "64x64"}


def settings(model: str) -> ProfileSettings:
    return ProfileSettings(
        model=model,
        random_weights=True,
        scale=0.02,
        lengths=(6, 8),
        repeats=1,
        every_chunk=False,
        settings=TINY,
    )


@pytest.fixture(scope="module", params=["lingbot-v2", "matrix-game"])
def report(request: pytest.FixtureRequest) -> ProfileReport:
    return run_profile(settings(request.param), {}).report


def test_every_mode_runs(report: ProfileReport) -> None:
    assert report.status == "done"
    assert [cell.mode for cell in report.cells] == ["full", "sliding", "sink", "worldkv"]
    for cell in report.cells:
        assert sorted(each.chunk for each in cell.chunks) == [3, 4, 5, 6, 7]
        assert [length.chunks for length in cell.lengths] == [6, 8]
    assert report.network.frame_size == (64, 64)
    assert report.network.chunk_frames == (4 if report.model == "lingbot-v2" else 3)
    assert "chunks between the measured ones were jumped over, with noise in the window" in report.notes
    assert list(report.load_s) == ["codec", "first picture", "transformer"]


def test_worldkv_sees_more_than_the_sink_and_as_much_as_sliding(report: ProfileReport) -> None:
    window = {cell.mode: cell.window_tokens for cell in report.cells}
    assert window["sink"] < window["worldkv"] == window["sliding"]


def test_real_sizes_are_planned_without_weights() -> None:
    """LingBot as it is: 18.5 B parameters, of which none is made."""
    full = ProfileSettings(model="lingbot", random_weights=True, lengths=(40,))
    session = open_session(full, {}, {})
    flags = {"memory": "worldkv", "vram_budget": 72 << 30}
    cell = plan_cell(session, flags, {}, device=CPU, dtype=torch.bfloat16)
    assert session.frame_size == (832, 480)
    assert cell.plan.window_tokens == 18 * 1560
    assert cell.placement.parts.device_bytes < 72 << 30
    assert cell.plan.footprint.parameter_bytes == model_sizes("lingbot").network.num_parameters * 2


def test_random_parts_give_finite_numbers() -> None:
    sizes = model_sizes("lingbot", 0.02)
    vae = random_vae(sizes.vae, CPU, torch.bfloat16)
    assert vae.dtype == torch.bfloat16
    assert all(p.isfinite().all() for p in vae.network.parameters())
    network = random_network(sizes.network, WeightPlacement(), CPU, torch.float32)
    assert all(p.isfinite().all() for p in network.parameters())


@NEEDS_CUDA
@pytest.mark.parametrize("model", ["lingbot-v2", "matrix-game"])
def test_on_a_gpu(model: str) -> None:
    asked = settings(model)
    alone = replace(asked, modes=("worldkv",), settings={**TINY, "device": "cuda", "dtype": "bfloat16"})
    found = run_profile(alone, {})
    (cell,) = found.report.cells
    assert found.report.hardware.to_device_bytes_per_s > 0
    assert cell.peak_bytes is not None
    assert cell.peak_bytes > 0
    overhead = cell.overhead
    assert min(overhead.product_ms, overhead.attention_ms) > 0
    # A kernel counts once: as its operation's, not beside it.
    assert overhead.product_ms + overhead.attention_ms + overhead.between_ms <= overhead.chunk_ms * 1.001
