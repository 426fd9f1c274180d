"""What a LingBot rollout is said to take, against what its tensors take.

On the CPU small attention makes whole tables of scores; here it is fused as on a GPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from core.choose_placement import with_bank, with_window
from core.config import resolve
from core.generate import Job, prepare
from core.memory.world_memory import WorldMemory
from core.models.wan.codec_condition import PictureCondition
from core.models.wan.video_bytes import SETTLED_FRAMES
from core.noise import seeded_noise
from core.placement import Parts, Turns
from core.rollout import rollout
from tests.core.models.wan.live_bytes import LiveBytes
from tests.tiny_lingbot import write_checkpoint
from tests.tiny_vae import tiny_vae

CPU = torch.device("cpu")
AWAY_AND_BACK = """\
version: 1
name: away
steps:
  - turn: {yaw_deg: 60, frames: 28}
  - turn: {yaw_deg: -60, frames: 28}
"""
"""57 video frames: 5 chunks; the last ones look back."""

FASTEST: dict[str, Any] = {}
HALF = {"dtype": "bfloat16", "decode_dtype": "bfloat16", "memory": "full"}
RELEASE = {"memory_preset": "worldkv-release"}  # its chunks are pruned


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_checkpoint(tmp_path_factory.mktemp("model"), num_shards=2)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "first.png")
    (folder / "away.yaml").write_text(AWAY_AND_BACK)
    return folder


@pytest.fixture(autouse=True)
def fused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def attention(q, k, v):
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)

    monkeypatch.setattr("core.models.wan.block.attention", attention)
    monkeypatch.setattr("core.memory.world_memory.attention", attention)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def prepared(checkpoint: Path, **settings: object) -> Job:
    files = {"image": checkpoint / "first.png", "traj": str(checkpoint / "away.yaml")}
    fixed = {"model": "lingbot", "checkpoint": checkpoint, "prompt": "a castle", "device": "cpu"}
    return prepare(resolve({**files, **fixed, "size": "96x64", **settings}, {}))


def live_bytes(job: Job, turns: Turns) -> tuple[int, int, int]:
    """Peaks while the parts load, in the passes, and with decoding."""
    with LiveBytes() as live:
        model = job.session.load(job.device, job.dtype, turns)
        loading, live.peak = live.peak, 0
        memory = WorldMemory(
            job.plan,
            positions=job.positions,
            device=CPU,
            dtype=job.dtype,
        )
        shape = (1, model.latent_shape[0], job.plan.layout.chunk_frames, *model.latent_shape[1:])
        passes = decoding = 0
        results = rollout(
            model.controls, job.plan, memory, levels=model.levels, noise=seeded_noise(0, shape, CPU)
        )
        for result in results:
            passes, live.peak = max(passes, live.peak), 0
            model.decoder.push(result.latents)
            decoding, live.peak = max(decoding, live.peak), 0
    return loading, passes, decoding


def said_of_passes(parts: Parts) -> int:
    """Host included: on the CPU it is the same memory."""
    transient = max(size for name, size in parts.transient.items() if name != "decode")
    return sum(parts.device.values()) + sum(parts.host.values()) + transient


@pytest.mark.slow
@pytest.mark.parametrize("settings", [FASTEST, HALF, RELEASE], ids=["ours", "full", "release"])
def test_a_rollout_takes_what_was_said(checkpoint: Path, settings: dict[str, Any]) -> None:
    job = prepared(checkpoint, **settings)
    parts = job.placement.parts
    loading, passes, decoding = live_bytes(job, job.placement.turns)
    assert 0.8 * max(parts.loading_device.values()) < loading <= parts.device_bytes
    assert 0.8 * said_of_passes(parts) < passes <= said_of_passes(parts)
    assert 0.8 * parts.device_bytes < max(loading, passes, decoding) <= parts.device_bytes


@pytest.mark.slow
def test_the_smallest_rollout_takes_what_was_said(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamed weights, bank on the host, tiles, a camera that is computed in every pass."""
    monkeypatch.setattr("core.models.lingbot.needs.TILE", (8, 8))
    job = prepared(checkpoint, bank="host")
    *_, (turns, parts) = job.session.options(job.plan, job.dtype)
    assert turns.weights.resident_blocks == 0
    assert (turns.decode_tile, turns.camera_ready) == ((8, 8), False)
    parts = with_bank(with_window(parts, job.plan), job.plan)
    _, passes, decoding = live_bytes(job, turns)
    said = parts.device_bytes + parts.host_bytes
    assert 0.8 * said_of_passes(parts) < passes <= said_of_passes(parts)
    assert 0.8 * said < max(passes, decoding) <= said


def test_a_picture_is_settled_after_as_many_frames_as_said() -> None:
    condition, frames = PictureCondition(tiny_vae(), torch.rand(1, 3, 16, 16)), 0
    while condition.steady_after is None:
        condition.frames(frames, frames + 1)
        frames += 1
    assert condition.steady_after == SETTLED_FRAMES
