"""The tiny Matrix-Game-2.0 of the golden data: regenerated weights and inputs.

`tests/golden/matrix_game` holds numbers that the reference implementation produced at a tiny size in float32.
"""

from __future__ import annotations

import json
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from core.memory.footprint import Footprint
from core.memory.layout import MemoryMode, WindowLayout
from core.memory.plan import MemoryPlan
from core.memory.planner import plan_memory
from core.memory.viewpoints import Viewpoints
from core.memory.world_memory import WorldMemory
from core.models.matrix_game.controls import MatrixGameControls
from core.models.wan.action import ActionWindows
from core.models.wan.config import ActionConfig, WanConfig
from core.models.wan.first_picture import FirstPicture
from core.models.wan.network import WanNetwork
from core.rollout import rollout
from core.sampler import NoiseLevels

FOLDER = Path(__file__).parent / "golden" / "matrix_game"
MANIFEST = json.loads((FOLDER / "manifest.json").read_text())
CONFIG = MANIFEST["config"]


def frozen(name: str) -> torch.Tensor:
    """A tensor regenerated from its name; see the manifest's `rng`."""
    entry = MANIFEST["tensors"][name]
    if entry["kind"] == "sum":
        return sum(frozen(part) for part in entry["parts"])
    drawn = entry.get("name", name)
    seed = zlib.crc32(f"{MANIFEST['seed']}:{drawn}".encode()) & 0xFFFFFFFF
    source, shape = np.random.RandomState(seed), entry["shape"]
    if entry["kind"] == "normal":
        values = source.standard_normal(shape).astype(np.float32)
        values = values * np.float32(entry.get("scale", 1)) + np.float32(entry.get("offset", 0))
    else:
        u = source.random_sample(shape)
        values = {
            "uniform": lambda: np.float32(entry["low"] + (entry["high"] - entry["low"]) * u),
            "bernoulli": lambda: np.float32(u > entry["threshold"]),
            "ternary": lambda: np.float32(np.floor(3 * u) - 1) * np.float32(entry.get("scale", 1)),
        }[entry["kind"]]()
    np.testing.assert_allclose(values.ravel()[:2], entry["first"], rtol=1e-6)
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


@cache
def golden(file: str) -> dict[str, torch.Tensor]:
    """Stored tensors: `runs`, `units` or `trace`."""
    return load_file(FOLDER / f"{file}.safetensors")


def network_config(variant: str) -> WanConfig:
    """Sizes of the tiny network of a variant."""
    run = next(r for r in MANIFEST["runs"].values() if r["variant"] == variant)
    return WanConfig(
        dim=CONFIG["dim"],
        ffn_dim=CONFIG["ffn_dim"],
        num_heads=CONFIG["num_heads"],
        num_layers=CONFIG["num_layers"],
        in_channels=CONFIG["in_dim"],
        out_channels=CONFIG["out_dim"],
        freq_dim=CONFIG["freq_dim"],
        image_dim=CONFIG["visual_dim"],
        actions=ActionConfig(
            layers=tuple(CONFIG["action_layers"]),
            num_heads=CONFIG["action_heads"],
            head_dim=CONFIG["action_head_dim"],
            keyboard_dim=run["keyboard_dim"],
            keyboard_embedding=CONFIG["keyboard_embedding"],
            mouse=run["mouse"],
            window_frames=CONFIG["action_window_frames"],
        ),
    )


def weight(name: str, variant: str) -> torch.Tensor:
    """A frozen weight of a variant, by the network's own name."""
    key = f"model.{name}"
    return frozen(f"{key}@{variant}" if f"{key}@{variant}" in MANIFEST["tensors"] else key)


@cache
def network(variant: str) -> WanNetwork:
    """The tiny network of a variant."""
    net = WanNetwork(network_config(variant))
    net.load_state_dict({name: weight(name, variant) for name in net.state_dict()})
    return net.eval().requires_grad_(requires_grad=False)


class FrozenActions:
    """The golden tracks; see `core.models.matrix_game.controls.Actions`."""

    def __init__(self, variant: str) -> None:
        self.tracks = [frozen(f"keyboard_cond.{variant}"), frozen("mouse_cond")]
        self.mouse = network_config(variant).actions.mouse

    def windows(self, frames: range) -> ActionWindows:
        rows = [[max(0, 4 * frame - 12 + i) for i in range(12)] for frame in frames]
        keyboard, mouse = (track[torch.tensor(rows)][None] for track in self.tracks)
        return ActionWindows(keyboard, mouse if self.mouse else None)


class FrozenLatents:
    """The golden latents of the first picture and what follows it, in place of the codec's."""

    steady_after = None

    def frames(self, start: int, stop: int) -> torch.Tensor:
        return frozen("image_latent")[None, :, start:stop]


def golden_viewpoints(num_frames: int) -> Viewpoints:
    """Cameras that no golden run needs: none of them retrieves."""
    width, height = 8 * CONFIG["latent_width"], 8 * CONFIG["latent_height"]
    return Viewpoints(
        c2w=np.tile(np.eye(4), (num_frames, 1, 1)),
        intrinsics=np.tile([width / 2, width / 2, width / 2, height / 2], (num_frames, 1)),
        image_size=(width, height),
        grid=tuple(CONFIG["token_grid"]),
    )


def golden_controls(variant: str, num_frames: int, action_frames: int) -> MatrixGameControls:
    """Conditioning of a golden run, as the model itself makes it."""
    return MatrixGameControls(
        network(variant),
        golden_viewpoints(num_frames),
        FirstPicture(FrozenLatents(), num_frames),
        FrozenActions(variant),
        frozen("visual_context")[None],
        action_frames=action_frames,
    )


def plan_of(run: dict, views: Viewpoints) -> MemoryPlan:
    """Our plan of a golden run: its window counts the current block, and the sink."""
    size, sink = run["local_attn_size"], run["sink_frames"]
    mode = MemoryMode.SINK if sink else MemoryMode.SLIDING
    if size >= views.num_frames:
        mode = MemoryMode.FULL
    layout = WindowLayout(
        mode=mode,
        num_frames=views.num_frames,
        tokens_per_frame=views.tokens_per_frame,
        sink_frames=sink,
        recent_frames=0 if mode is MemoryMode.FULL else size - sink - 3,
    )
    footprint = Footprint(
        num_layers=CONFIG["num_layers"],
        num_heads=CONFIG["num_heads"],
        head_dim=CONFIG["head_dim"],
        grid=views.grid,
        kv_element_bytes=4,
        parameter_bytes=0,
    )
    return plan_memory(views, footprint=footprint, layout=layout)


def run_golden(name: str) -> tuple[list[torch.Tensor], MemoryPlan]:
    """Run a golden rollout through the engine: clean latents of the generated blocks, and the plan."""
    run = MANIFEST["runs"][name]
    given = run["prefill_blocks"]
    num_frames = 3 * (given + run["num_blocks"])
    controls = golden_controls(run["variant"], num_frames, run["local_attn_size"])
    plan = plan_of(run, controls.viewpoints)
    memory = WorldMemory(plan, device=torch.device("cpu"), dtype=torch.float32)
    levels = NoiseLevels.from_steps(run["denoising_steps"], CONFIG["shift"])
    noise, renoise, initial = (frozen(key) for key in ("noise", "renoise", "initial_latent"))

    def draw(chunk: int, index: int) -> torch.Tensor:
        block = chunk - given
        if index == 0:
            return noise[None, :, 3 * block : 3 * block + 3]
        return renoise[block * (levels.num_steps - 1) + index - 1].transpose(0, 1)[None]

    def known(chunk: int) -> torch.Tensor | None:
        return initial[None, :, 3 * chunk : 3 * chunk + 3] if chunk < given else None

    results = rollout(controls, plan, memory, levels=levels, noise=draw, given=known)
    return [result.latents[0] for result in results if not result.given], plan
