"""The tiny LingBot model of the golden data: regenerated weights and inputs, run through our own engine.

`tests/golden/lingbot` holds numbers that the reference implementation produced at a tiny size in float32.
"""

from __future__ import annotations

import json
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from core.memory.bank import Bank
from core.memory.footprint import Footprint
from core.memory.layout import MemoryMode, WindowLayout
from core.memory.planner import plan_memory
from core.memory.positions import PositionMode
from core.memory.prune_policy import Pruning
from core.memory.strategies import strategy
from core.memory.tiers import Room, Tier
from core.memory.viewpoints import Viewpoints
from core.memory.world_memory import ChunkCache, WorldMemory
from core.models.lingbot.camera import camera_features
from core.models.lingbot.controls import LingBotControls
from core.models.lingbot.path import CameraPath, clip_scale, framewise_cameras
from core.models.wan.config import WanConfig
from core.models.wan.first_picture import FirstPicture
from core.models.wan.network import WanNetwork
from core.rollout import rollout
from core.sampler import NoiseLevels
from tests.naive_cameras import naive_cameras

FOLDER = Path(__file__).parent / "golden" / "lingbot"
MANIFEST = json.loads((FOLDER / "manifest.json").read_text())
SIZE_PX = (MANIFEST["config"]["pixel_width"], MANIFEST["config"]["pixel_height"])


def frozen(name: str) -> torch.Tensor:
    """A tensor regenerated from its name."""
    entry = MANIFEST["tensors"][name]
    if entry["kind"] == "sum":
        return sum(frozen(part) for part in entry["parts"])
    assert entry["kind"] == "normal", entry
    seed = zlib.crc32(f"{MANIFEST['seed']}:{name}".encode()) & 0xFFFFFFFF
    values = np.random.RandomState(seed).standard_normal(entry["shape"]).astype(np.float32)
    values = values * np.float32(entry.get("scale", 1)) + np.float32(entry.get("offset", 0))
    np.testing.assert_allclose(values.ravel()[:2], entry["first"], rtol=1e-6)
    return torch.from_numpy(values)


@cache
def golden(file: str) -> dict[str, torch.Tensor]:
    return load_file(FOLDER / f"{file}.safetensors")


@cache
def network() -> WanNetwork:
    c = MANIFEST["config"]
    net = WanNetwork(
        WanConfig(
            dim=c["dim"],
            ffn_dim=c["ffn_dim"],
            num_heads=c["num_heads"],
            num_layers=c["num_layers"],
            in_channels=c["in_dim"],
            out_channels=c["out_dim"],
            freq_dim=c["freq_dim"],
            text_dim=c["text_dim"],
            text_tokens=c["text_len"],
            camera_features=4 * c["camera_channels"],
            camera_injection="after_attention",
        )
    )
    with torch.device("meta"):
        names = WanNetwork(net.config).state_dict()
    net.load_state_dict({name: frozen(name) for name in names})
    return net.eval().requires_grad_(requires_grad=False)


def features(relative: torch.Tensor) -> torch.Tensor:
    """Camera features of every token, from framewise poses."""
    intrinsics = golden("units")["camera.A.intrinsics"].expand(len(relative), -1)
    return camera_features(relative, intrinsics, SIZE_PX)


@cache
def cameras(trajectory: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Absolute and relative poses of the latent frames; golden ones where there are any."""
    units = golden("units")
    if f"camera.{trajectory}.absolute" in units:
        return units[f"camera.{trajectory}.absolute"], units[f"camera.{trajectory}.relative"]
    return naive_cameras(MANIFEST["trajectories"][trajectory], MANIFEST["config"]["frame_num"])


class FrozenLatents:
    """The golden latents of the first picture and what follows it, in place of the codec's."""

    steady_after = None

    def frames(self, start: int, stop: int) -> torch.Tensor:
        return frozen("y_latent")[None, :, start:stop]


def golden_controls(trajectory: str, num_chunks: int | None = None) -> LingBotControls:
    """Conditioning of a golden run, or of its first chunks, as the model itself makes it."""
    absolute = cameras(trajectory)[0].double().numpy()
    c2w = absolute[: 3 * num_chunks if num_chunks else None]
    path = CameraPath(
        c2w=c2w,
        intrinsics=np.tile(golden("units")["camera.A.intrinsics"].double().numpy(), (len(c2w), 1)),
        size=SIZE_PX,
        chunk_frames=3,
        scale=clip_scale(framewise_cameras(absolute)),
    )
    picture = FirstPicture(FrozenLatents(), len(c2w))
    return LingBotControls(network(), path, picture, frozen("context")[None])


def plan_of(run: dict, viewpoints: Viewpoints):
    """Our plan of a golden run, whose window counts the current chunk among the recent frames."""
    c = MANIFEST["config"]
    footprint = Footprint(
        num_layers=c["num_layers"],
        num_heads=c["num_heads"],
        head_dim=c["head_dim"],
        grid=viewpoints.grid,
        kv_element_bytes=4,
        parameter_bytes=0,
    )
    layout, pruning, chunks = window_of(run, viewpoints.num_frames)
    return plan_memory(
        viewpoints,
        footprint=footprint,
        layout=layout,
        strategy=strategy("pose")(num_chunks=chunks) if chunks else None,
        pruning=pruning,
        reinsert_all=run["rope_correction"],
    )


def window_of(run: dict, num_frames: int) -> tuple[WindowLayout, Pruning, int]:
    """Window, pruning and number of retrieved chunks of a golden run."""
    tokens = MANIFEST["config"]["tokens_per_frame"]
    mode = MemoryMode({"sink_recent": "sink", "retrieval": "worldkv"}.get(run["mode"], run["mode"]))
    chunks = (run["retrieval_frames"] or 0) // 3
    recent = {
        MemoryMode.FULL: 0,
        MemoryMode.SLIDING: run["window_frames"] - 3,
        MemoryMode.SINK: 3,
        MemoryMode.WORLDKV: 3,
    }[mode]
    if mode is MemoryMode.WORLDKV and not chunks:  # never a retrieved chunk: the window stays as it begins
        mode, recent = MemoryMode.SINK, 3 + run["retrieval_frames"]
    retrieving = mode is MemoryMode.WORLDKV
    pruning = Pruning()
    compression = run["compression"] if retrieving else None
    if compression is not None:
        on_use = compression["when"] == "runtime"
        pruning = Pruning(
            rule="key",
            keep_ratio=compression["keep_ratio"],
            pooled=compression["pooled"] and not on_use,
            when="use" if on_use else "store",
            rotate_anchor=compression["anchor_rotate"] and on_use,
        )
    release = {
        "retrieve_tokens": chunks * pruning.kept_per_chunk(tokens, 3),
        "release_gap": True,
        "opening_frames": run["retrieval_frames"],
        "release_fill": run["reference_commit"] == "2c9bcbb",
    }
    layout = WindowLayout(
        mode=mode,
        num_frames=num_frames,
        tokens_per_frame=tokens,
        sink_frames=run["sink_frames"] if mode in (MemoryMode.SINK, MemoryMode.WORLDKV) else 0,
        recent_frames=recent,
        **(release if retrieving else {}),
    )
    if run["max_attention_keys"]:
        layout = layout.limited_to(run["max_attention_keys"])
    return layout, pruning, chunks


def run_golden(name: str, *, tier: Tier = "device"):
    """Run a golden rollout through the engine: clean latents of every chunk, plan and memory."""
    return run_engine(MANIFEST["runs"][name], tier=tier)


def run_engine(run: dict, *, num_chunks: int | None = None, tier: Tier = "device"):
    """Run any rollout that is described like a golden one through the engine."""
    controls = golden_controls(run["trajectory"], num_chunks)
    plan = plan_of(run, controls.viewpoints)
    positions = PositionMode.LISTED if run["rope_correction"] else PositionMode.ABSOLUTE
    plan = plan.within(Room.only(tier))
    memory = WorldMemory(plan, positions=positions, device=torch.device("cpu"), dtype=torch.float32)
    noise, renoise = frozen("noise")[None], frozen("renoise")

    def draw(chunk: int, index: int) -> torch.Tensor:
        return noise[:, :, 3 * chunk : 3 * chunk + 3] if index == 0 else renoise[chunk, index - 1][None]

    results = rollout(controls, plan, memory, levels=NoiseLevels.from_table(run["shift"]), noise=draw)
    return [r.latents[0] for r in results], plan, memory


def watch_stores(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[int, int], torch.Tensor]:
    """By layer and chunk, the tokens that the bank was given."""
    seen: dict[tuple[int, int], torch.Tensor] = {}
    store, attend = Bank.store, ChunkCache.attend
    watched: dict = {}

    def attended(self, layer, q, k, v):
        watched["step"], watched["tokens"] = self.step, self.step.store_tokens
        return attend(self, layer, q, k, v)

    def stored(self, layer, routes, keys, values, *, ids=None, place=-1):
        first = watched["step"].frames * self._plan.footprint.tokens_per_frame
        chosen = torch.from_numpy(watched["tokens"]) if ids is None else ids[0] - first
        seen[layer, watched["step"].chunk] = chosen
        return store(self, layer, routes, keys, values, ids=ids, place=place)

    monkeypatch.setattr(ChunkCache, "attend", attended)
    monkeypatch.setattr(Bank, "store", stored)
    return seen
