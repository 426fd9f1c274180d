"""Plays camera scripts in held-out worlds and scores what comes out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from core.bench.play import Played, play, true_latents
from core.bench.scripts import Script
from core.bench.setting import Setting
from core.fidelity.controls import matched_controls
from core.fidelity.pairs import revisit_pairs, view_distance
from core.fidelity.pictures import psnr, sharpness, ssim
from core.models.mini.config import CHUNK_FRAMES
from core.models.mini.model import MiniModel
from core.models.mini.world import World
from core.schemas.bench_cell import Costs, Score
from trajectories import Trajectory

FIRST_WORLD_SEED = 1_000_000
"""Training draws its rooms from seeds of 62 random bits: none of these is among them."""

SEEN_DISTANCE = 0.02
"""How near a returned view must be to a given one, |translation| + angle / pi."""

MEASURES = {
    "self_psnr_db": "first visit against revisit of the same rollout",
    "self_ssim": "the same in structural similarity; only where nothing was given",
    "control_psnr_db": "frames of other places at about the same gaps; only where nothing was given",
    "gain_psnr_db": "self_psnr_db over control_psnr_db",
    "truth_psnr_db": "returned views against the true world; only where the first leg was given",
    "truth_ssim": "the same in structural similarity",
    "late_truth_psnr_db": "as truth_psnr_db, over the returned views in the last quarter of the video",
    "sharpness": "gradient energy of what was generated over the truth's",
    "late_psnr_db": "as self_psnr_db, over the revisits in the last quarter of the video",
    "early_psnr_db": "the first three generated frames after the first picture against the truth",
}
"""What is measured, one value a world."""


class Judge:
    """Plays scripts in worlds and scores what comes out.

    Args:
        model: The embedded model.
        num_worlds: Worlds for every setting.
        batch: Worlds side by side.
        first_world: Number of the first held-out world; its noise has the same number.
    """

    def __init__(self, model: MiniModel, num_worlds: int, batch: int = 16, *, first_world: int = 0) -> None:
        self.model, self.num_worlds, self.batch, self.first_world = model, num_worlds, batch, first_world

    def score(self, script: Script, setting: Setting, *, given: bool = False) -> Score:
        """Play one script with one setting in all worlds."""
        given_chunks = script.given_chunks if given else 0
        lists: dict[str, list[float]] = {name: [] for name in MEASURES}
        end = self.first_world + self.num_worlds
        cpu_s, played = 0.0, None
        for start in range(self.first_world, end, self.batch):
            numbers = range(start, min(start + self.batch, end))
            played = play(
                self.model,
                script.trajectory(),
                [held_out_world(self.model, script, number) for number in numbers],
                setting,
                given=[_first_leg(self.model, script, number) for number in numbers] if given else (),
                first_seed=start,
            )
            cpu_s += played.cpu_s
            for video, number in zip(played.videos, numbers, strict=True):
                truth = true_video(self.model, script, number)
                for name, value in compare(video, truth, script, given_chunks * CHUNK_FRAMES).items():
                    lists[name].append(round(value, 4))
        if played is None:
            raise ValueError("a judge needs at least one world")
        return Score(
            script=script.name,
            setting=setting.label,
            given=given,
            costs=_costs(played, cpu_s / self.num_worlds),
            measures={name: each for name, each in lists.items() if each and all(map(math.isfinite, each))},
        )


def _costs(played: Played, cpu_s: float) -> Costs:
    plan = played.plan
    steps = len(plan.steps)
    return Costs(
        retrieve_tokens=plan.layout.retrieve_tokens,
        retrieved_tokens=round(plan.retrieved_tokens / steps, 2),
        window_tokens=max(plan.visible_tokens(step) for step in plan.steps),
        window_bytes=plan.window_bytes,
        bank_bytes=plan.bank_bytes,
        stored_share=round(plan.stored_token_ratio, 4),
        cpu_ms=round(cpu_s / steps * 1e3, 3),
    )


@lru_cache(maxsize=256)
def held_out_world(model: MiniModel, script: Script, number: int) -> World:
    """A world that training cannot have seen, around a script."""
    return model.world(script.trajectory(), FIRST_WORLD_SEED + number)


@lru_cache(maxsize=256)
def true_video(model: MiniModel, script: Script, number: int) -> UInt8[np.ndarray, "frames height width 3"]:
    """A held-out world along a script; kept, for the next setting is compared with it, too."""
    return drawn(held_out_world(model, script, number), script.trajectory())


@lru_cache(maxsize=256)
def _first_leg(model: MiniModel, script: Script, number: int) -> Float[Tensor, "channels frames h w"]:
    """Latents of the part of a script that is given."""
    return true_latents(model, held_out_world(model, script, number), script.given_chunks)


def drawn(world: World, trajectory: Trajectory) -> UInt8[np.ndarray, "frames height width 3"]:
    """The true world along a path."""
    pictures = (world.pictures(0, trajectory.num_frames).clamp(0, 1) * 255).round().to(torch.uint8)
    return pictures.permute(0, 2, 3, 1).numpy()


def compare(
    video: UInt8[np.ndarray, "frames height width 3"],
    truth: UInt8[np.ndarray, "frames height width 3"],
    script: Script,
    given: int,
) -> dict[str, float]:
    """Every measure of one rollout; NaN where the script has no such frames.

    Args:
        video: What was generated.
        truth: The true world along the same path.
        script: The path.
        given: Frames at the beginning that were given.
    """
    c2w, gap = script.trajectory().c2w, script.min_gap_frames
    pairs = [p for p in revisit_pairs(c2w, min_gap_frames=gap) if p.later >= given]
    late_pairs = [p for p in pairs if p.later >= len(video) * 3 // 4]
    values = {
        "self_psnr_db": _mean([psnr(video[p.later], video[p.earlier]) for p in pairs]),
        "late_psnr_db": _mean([psnr(video[p.later], video[p.earlier]) for p in late_pairs]),
        "sharpness": _mean([sharpness(video[f], truth[f]) for f in range(max(3, given), len(video), 3)]),
    }
    if not given:
        controls = matched_controls(c2w, pairs)
        values["control_psnr_db"] = _mean([psnr(video[p.later], video[p.earlier]) for p in controls])
        values["gain_psnr_db"] = values["self_psnr_db"] - values["control_psnr_db"]
        values["self_ssim"] = _mean([ssim(video[p.later], video[p.earlier]) for p in pairs])
        values["early_psnr_db"] = _mean([psnr(video[f], truth[f]) for f in (1, 2, 3)])
        return values
    seen = [f for f in range(given, len(video)) if _was_given(c2w, f, given, gap)]
    values["truth_psnr_db"] = _mean([psnr(video[f], truth[f]) for f in seen])
    values["truth_ssim"] = _mean([ssim(video[f], truth[f]) for f in seen])
    late = [f for f in seen if f >= len(video) * 3 // 4]
    values["late_truth_psnr_db"] = _mean([psnr(video[f], truth[f]) for f in late])
    return values


def _was_given(c2w: Float64[np.ndarray, "frames 4 4"], frame: int, given: int, min_gap_frames: int) -> bool:
    """Whether the view of a frame was among the given ones, long enough ago."""
    earlier = c2w[: max(0, min(given, frame - min_gap_frames))]
    here = np.broadcast_to(c2w[frame], earlier.shape)
    return bool((view_distance(earlier, here) < SEEN_DISTANCE).any())


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
