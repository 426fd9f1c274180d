"""What a pass is said to take, against what its tensors take.

On the CPU small attention makes whole tables of scores; here it is fused as on a GPU.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from core.memory.footprint import Footprint
from core.memory.layout import MemoryMode, WindowLayout
from core.memory.planner import plan_memory
from core.memory.strategies import strategy
from core.memory.viewpoints import Viewpoints
from core.memory.world_memory import WorldMemory
from core.models.wan.config import WanConfig
from core.models.wan.denoiser import TimeTable, WanDenoiser
from core.models.wan.network import WanNetwork
from core.models.wan.pass_bytes import pass_bytes
from tests.core.models.wan.live_bytes import LiveBytes

CPU = torch.device("cpu")
FRAMES = 15
NARROW = WanConfig(
    dim=128,
    ffn_dim=192,
    num_heads=4,
    num_layers=2,
    in_channels=36,
    out_channels=16,
    freq_dim=32,
    text_dim=24,
    text_tokens=8,
    camera_features=1536,
    camera_injection="after_attention",
)
FED = dataclasses.replace(NARROW, dim=256, ffn_dim=1024, num_heads=4)
STARVED = dataclasses.replace(NARROW, ffn_dim=32)
TEXTLESS = dataclasses.replace(STARVED, text_dim=0, camera_injection="before_attention")
HASTY = dataclasses.replace(NARROW, dim=512, ffn_dim=512, num_heads=4)


@pytest.fixture(autouse=True)
def fused(monkeypatch: pytest.MonkeyPatch) -> None:
    def attention(q, k, v):
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)

    monkeypatch.setattr("core.models.wan.block.attention", attention)
    monkeypatch.setattr("core.memory.world_memory.attention", attention)


def memory_of(config: WanConfig, grid: tuple[int, int], dtype: torch.dtype, mode: str) -> WorldMemory:
    c2w = np.tile(np.eye(4), (FRAMES, 1, 1))
    c2w[:, 0, 3] = np.sin(np.arange(FRAMES))
    intrinsics = np.tile([100.0, 100.0, 50.0, 50.0], (FRAMES, 1))
    views = Viewpoints(c2w=c2w, intrinsics=intrinsics, image_size=(100, 100), grid=grid)
    recalls, tokens = mode == "worldkv", grid[0] * grid[1]
    layout = WindowLayout(
        mode=MemoryMode(mode),
        num_frames=FRAMES,
        tokens_per_frame=tokens,
        sink_frames=3 if recalls else 0,
        recent_frames=3 if recalls else 0,
        retrieve_tokens=3 * tokens if recalls else 0,
    )
    footprint = Footprint(
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        head_dim=config.head_dim,
        grid=grid,
        kv_element_bytes=dtype.itemsize,
        parameter_bytes=0,
    )
    chooser = strategy("pose")(num_chunks=1) if recalls else None
    plan = plan_memory(views, footprint=footprint, layout=layout, strategy=chooser)
    return WorldMemory(plan, device=CPU, dtype=dtype)


@torch.inference_mode()
def live_peak(
    config: WanConfig, grid: tuple[int, int], dtype: torch.dtype, *, mode: str, ready: bool, known: bool
) -> int:
    """Of the last chunk's first pass, or of the clean one, behind which the cache of the first is alive."""
    network = WanNetwork(config).to(dtype).eval().requires_grad_(requires_grad=False)
    memory = memory_of(config, grid, dtype, mode)
    size, tokens = (2 * grid[0], 2 * grid[1]), grid[0] * grid[1]
    features = torch.randn(1, 3, tokens, config.camera_features).to(dtype)
    times = TimeTable(network)
    model = WanDenoiser(
        network,
        times,
        condition=network.embed_condition(torch.randn(1, 20, 3, *size).to(dtype)),
        camera=network.camera_modulations(features) if ready else network.embed_camera(features),
        context=network.embed_text(torch.randn(1, 4, config.text_dim).to(dtype)) if config.text_dim else None,
    )
    if known:
        times[500.0], times[0.0]  # embeds them
    *earlier, last = memory.plan.steps
    for step in earlier:
        memory.begin(step)
    latents = torch.randn(1, 16, 3, *size)
    with LiveBytes() as live:
        cache = memory.begin(last)
        model.flow(latents, 500.0, cache)
        model.flow(latents, 0.0, memory.commit_cache(last))
    return live.peak


@pytest.mark.parametrize("mode", ["full", "worldkv"])
@pytest.mark.parametrize("ready", [True, False], ids=["camera_ready", "camera_anew"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "config", [NARROW, FED, STARVED, TEXTLESS], ids=["narrow", "fed", "starved", "textless"]
)
@pytest.mark.parametrize("grid", [(10, 14), (6, 10)], ids=["wide", "small"])
def test_no_less_and_little_more(
    config: WanConfig, grid: tuple[int, int], dtype: torch.dtype, ready: bool, mode: str
) -> None:
    taken = live_peak(config, grid, dtype, mode=mode, ready=ready, known=True)
    said = pass_bytes(config, 3 * grid[0] * grid[1], dtype, camera_ready=ready)
    assert taken <= said
    if 3 * grid[0] * grid[1] > config.dim:  # else new timesteps are the larger part
        assert said < 1.1 * taken


def test_a_new_timestep_in_few_tokens() -> None:
    """The weights that embed it are copied to float32, and they are much larger than a chunk."""
    taken = live_peak(HASTY, (4, 6), torch.bfloat16, mode="full", ready=True, known=False)
    said = pass_bytes(HASTY, 72, torch.bfloat16, camera_ready=True)
    assert taken <= said < 1.1 * taken
    assert said > 2 * live_peak(HASTY, (4, 6), torch.bfloat16, mode="full", ready=True, known=True)


def test_of_the_14b_network() -> None:
    lingbot = dataclasses.replace(
        NARROW, dim=5120, ffn_dim=13824, num_heads=40, num_layers=40, text_dim=4096, text_tokens=512
    )
    assert pass_bytes(lingbot, 4680, torch.bfloat16, camera_ready=True) == 695_541_760
