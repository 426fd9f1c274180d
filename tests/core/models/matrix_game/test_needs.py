"""What a Matrix-Game rollout is said to take, against what its tensors take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from core.choose_placement import with_bank, with_window
from core.memory.positions import sink_follows
from core.models.matrix_game import needs
from core.models.matrix_game.config import find_variant
from core.models.matrix_game.needs import Needs
from core.models.wan.clip_config import CLIP_VIT_H
from core.models.wan.config import ActionConfig, WanConfig
from core.models.wan.vae_config import WAN_VAE
from core.placement import Turns
from tests.core.models.matrix_game.sessions import prepared, write_inputs, write_models
from tests.core.models.rollout_bytes import fuse_attention, rollout_peaks, said_of_passes

SETTINGS: dict[str, dict[str, Any]] = {
    "host": {"bank": "host", "strategy": "rays", "retrieve": 2},
    "templerun": {"variant": "templerun"},
    "narrow": {"dtype": "bfloat16", "decode_dtype": "bfloat16", "memory": "full"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("needs")
    write_inputs(made)
    return write_models(made)


@pytest.fixture(autouse=True)
def _fused(monkeypatch: pytest.MonkeyPatch) -> None:
    fuse_attention(monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_rollout_takes_what_was_said(folder: Path, settings: dict[str, Any]) -> None:
    job = prepared(folder, folder, **settings)
    parts, peaks = job.placement.parts, rollout_peaks(job, job.placement.turns)
    assert 0.9 * max(parts.loading_device.values()) < peaks.loading <= parts.device_bytes
    assert 0.9 * said_of_passes(parts) < peaks.passes <= said_of_passes(parts)
    said = parts.device_bytes + parts.host_bytes
    assert 0.9 * said < peaks.highest <= said


@pytest.mark.slow
def test_a_clip_that_is_encoded_as_the_rollout_goes(folder: Path) -> None:
    job = prepared(
        folder,
        folder,
        prefix=folder / "clip.mp4",
        prefix_traj=_path(folder, 20),
        traj=_path(folder, 12),
        decode_dtype="bfloat16",
    )
    parts, peaks = job.placement.parts, rollout_peaks(job, job.placement.turns)
    assert 0.8 * parts.device_bytes < peaks.highest <= parts.device_bytes


@pytest.mark.slow
def test_the_smallest_rollout_takes_what_was_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bank on the host, frames in tiles."""
    monkeypatch.setattr(needs, "TILE", (8, 8))
    job = prepared(folder, folder, bank="host")
    *_, (turns, parts) = job.session.options(job.plan, job.dtype)
    assert turns == Turns(decode_tile=(8, 8))
    follows = sink_follows(job.positions, job.plan.layout, trained_frames=job.session.trained_frames)
    parts = with_bank(with_window(parts, job.plan, sink_follows=follows), job.plan)
    peaks, said = rollout_peaks(job, turns), parts.device_bytes + parts.host_bytes
    assert 0.8 * said_of_passes(parts) < peaks.passes <= said_of_passes(parts)
    assert 0.8 * said < peaks.highest <= said


RELEASED = WanConfig(
    dim=1536,
    ffn_dim=8960,
    num_heads=12,
    num_layers=30,
    in_channels=36,
    out_channels=16,
    image_dim=1280,
    actions=ActionConfig(
        layers=find_variant("universal").action_layers,
        num_heads=16,
        head_dim=64,
        keyboard_dim=4,
        keyboard_embedding=128,
        mouse=True,
    ),
)


def test_the_released_network(folder: Path) -> None:
    """As counted in golden/matrix_game README, sections 12 and 13."""
    wide = Needs(
        network=RELEASED,
        vae=WAN_VAE,
        clip=CLIP_VIT_H,
        size=(640, 352),
        decode_dtype=torch.float32,
        action_frames=6,
        encodes=False,
    )
    plan = prepared(folder, folder, size="640x352").plan
    (turns, parts), *_, (_, least) = wide.options(plan, torch.bfloat16)
    assert turns == Turns()
    unused_gains = 15 * 4 * 64
    assert parts.device["weights"] == 2 * (1_619_242_304 - unused_gains)
    assert parts.device["actions"] / 15 == pytest.approx(21.6e6, rel=0.01)
    assert least.device_bytes < parts.device_bytes


def _path(folder: Path, frames: int) -> str:
    """A camera that stands still."""
    path = folder / f"{frames}.yaml"
    path.write_text(f"version: 1\nsteps: [{{hold: {{frames: {frames}}}}}]\n")
    return str(path)
