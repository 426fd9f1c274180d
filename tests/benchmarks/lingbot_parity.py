"""How far bfloat16 leads away from float32, on the golden data's tiny network."""

from __future__ import annotations

import copy

import numpy as np
import torch

from core.memory.world_memory import WorldMemory
from core.models.lingbot.controls import LingBotControls
from core.models.lingbot.path import CameraPath, clip_scale, framewise_cameras
from core.models.wan.first_picture import FirstPicture
from core.rollout import rollout
from core.sampler import NoiseLevels
from tests.golden_lingbot import MANIFEST, SIZE_PX, FrozenLatents, cameras, frozen, golden, network, plan_of

RUNS = ("full_kv", "retrieval6")


def relative_rms(name: str, device: torch.device) -> tuple[float, float]:
    """Of the first chunk's clean latents, and of all chunks', relative to those in float32."""
    wide, narrow = (latents_of(name, device, dtype) for dtype in (torch.float32, torch.bfloat16))
    return _relative(narrow[:1], wide[:1]), _relative(narrow, wide)


@torch.inference_mode()
def latents_of(name: str, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Clean latents of a golden run, all chunks."""
    run = MANIFEST["runs"][name]
    controls = _controls(run["trajectory"], device, dtype)
    plan = plan_of(run, controls.viewpoints)
    memory = WorldMemory(plan, device=device, dtype=dtype)
    noise, renoise = frozen("noise")[None].to(device), frozen("renoise").to(device)

    def draw(chunk: int, index: int) -> torch.Tensor:
        return noise[:, :, 3 * chunk : 3 * chunk + 3] if index == 0 else renoise[chunk, index - 1][None]

    results = rollout(controls, plan, memory, levels=NoiseLevels.from_table(run["shift"]), noise=draw)
    return torch.cat([result.latents.cpu() for result in results])


def _controls(trajectory: str, device: torch.device, dtype: torch.dtype) -> LingBotControls:
    c2w = cameras(trajectory)[0].double().numpy()
    path = CameraPath(
        c2w=c2w,
        intrinsics=np.tile(golden("units")["camera.A.intrinsics"].double().numpy(), (len(c2w), 1)),
        size=SIZE_PX,
        chunk_frames=3,
        scale=clip_scale(framewise_cameras(c2w)),
    )
    picture = FirstPicture(FrozenLatents(), len(c2w))
    cast = copy.deepcopy(network()).to(device, dtype)
    return LingBotControls(cast, path, picture, frozen("context")[None].to(device))


def _relative(values: torch.Tensor, reference: torch.Tensor) -> float:
    return float(
        (values - reference).double().square().mean().sqrt() / reference.double().square().mean().sqrt()
    )
