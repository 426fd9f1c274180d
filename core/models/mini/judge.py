"""Plays camera scripts in held-out worlds and scores what comes out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8

from core.fidelity.pairs import control_pairs, revisit_pairs, view_distance
from core.fidelity.pictures import psnr, sharpness, ssim
from core.models.mini.config import CHUNK_FRAMES
from core.models.mini.model import MiniModel
from core.models.mini.scripts import Script
from core.models.mini.settings import Setting, generate_worlds
from core.models.mini.world import World

FIRST_WORLD_SEED = 1_000_000
"""Training draws its rooms from seeds of 62 random bits: none of these is among them."""

SEEN_DISTANCE = 0.02
"""How near a returned view must be to a given one, |translation| + angle / pi."""


@dataclass(frozen=True)
class Score:
    """One setting on one script: one value a world in each list.

    Attributes:
        self_psnr_db: First visit against revisit of the same rollout.
        self_ssim: The same in structural similarity.
        control_psnr_db: Frames of other places at the same gaps in time: what a frozen picture would win.
        truth_psnr_db: Returned views against the true world; only where the first leg was given.
        sharpness: Gradient energy of what was generated over the truth's.
        late_psnr_db: As self_psnr_db, over the revisits in the last quarter of the video.
        early_psnr_db: The first three generated frames after the given picture against the truth.
    """

    script: str
    setting: str
    tokens: int
    stored_share: float
    seconds: float
    self_psnr_db: list[float]
    self_ssim: list[float]
    control_psnr_db: list[float]
    truth_psnr_db: list[float]
    sharpness: list[float]
    late_psnr_db: list[float]
    early_psnr_db: list[float]


MEASURES = (
    "self_psnr_db",
    "self_ssim",
    "control_psnr_db",
    "truth_psnr_db",
    "sharpness",
    "late_psnr_db",
    "early_psnr_db",
)


class Judge:
    """Plays scripts in worlds and scores what comes out.

    Args:
        model: The embedded model.
        num_worlds: Worlds for every setting.
        batch: Worlds side by side.
    """

    def __init__(self, model: MiniModel, num_worlds: int, batch: int = 16) -> None:
        self.model, self.num_worlds, self.batch = model, num_worlds, batch

    def worlds(self, script: Script) -> list[World]:
        """The held-out worlds of a script."""
        trajectory = script.trajectory()
        return [self.model.world(trajectory, FIRST_WORLD_SEED + i) for i in range(self.num_worlds)]

    def score(self, script: Script, setting: Setting, *, given: bool = False) -> Score:
        """Play one script with one setting in all worlds."""
        trajectory, worlds = script.trajectory(), self.worlds(script)
        given_chunks = script.given_chunks if given else 0
        began = time.perf_counter()
        lists: dict[str, list[float]] = {name: [] for name in MEASURES}
        for start in range(0, len(worlds), self.batch):
            some = worlds[start : start + self.batch]
            videos, plan = generate_worlds(
                self.model, trajectory, some, setting, given_chunks=given_chunks, first_seed=start
            )
            for video, world in zip(videos, some, strict=True):
                truth = true_video(world, trajectory.num_frames)
                values = _compare(video, truth, trajectory.c2w, given_chunks * CHUNK_FRAMES, script)
                for name, value in values.items():
                    lists[name].append(round(value, 4))
        tokens = setting.window_tokens(self.model.footprint.tokens_per_frame)
        seconds = round(time.perf_counter() - began, 2)
        return Score(
            script=script.name,
            setting=setting.name,
            tokens=tokens,
            stored_share=round(plan.stored_token_ratio, 4),
            seconds=seconds,
            **lists,
        )


def true_video(world: World, num_frames: int) -> UInt8[np.ndarray, "frames height width 3"]:
    """The true world along the path."""
    pictures = (world.pictures(0, num_frames).clamp(0, 1) * 255).round().to(torch.uint8)
    return pictures.permute(0, 2, 3, 1).numpy()


def _compare(
    video: np.ndarray, truth: np.ndarray, c2w: np.ndarray, given: int, script: Script
) -> dict[str, float]:
    gap = script.min_gap_frames
    pairs = [p for p in revisit_pairs(c2w, min_gap_frames=gap) if p.later >= given]
    controls = control_pairs(c2w, pairs)
    late = [p for p in pairs if p.later >= len(video) * 3 // 4]
    values = {
        "self_psnr_db": _mean([psnr(video[p.later], video[p.earlier]) for p in pairs]),
        "self_ssim": _mean([ssim(video[p.later], video[p.earlier]) for p in pairs]),
        "control_psnr_db": _mean([psnr(video[p.later], video[p.earlier]) for p in controls]),
        "late_psnr_db": _mean([psnr(video[p.later], video[p.earlier]) for p in late]),
        "sharpness": _mean([sharpness(video[f], truth[f]) for f in range(max(3, given), len(video), 3)]),
    }
    if not given:
        values["early_psnr_db"] = _mean([psnr(video[f], truth[f]) for f in (1, 2, 3)])
        return values
    seen = [f for f in range(given, len(video)) if _was_given(c2w, f, given, gap)]
    values["truth_psnr_db"] = _mean([psnr(video[f], truth[f]) for f in seen])
    return values


def _was_given(c2w: np.ndarray, frame: int, given: int, min_gap_frames: int) -> bool:
    """Whether the view of a frame was among the given ones, long enough ago."""
    earlier = c2w[: max(0, min(given, frame - min_gap_frames))]
    here = np.broadcast_to(c2w[frame], earlier.shape)
    return bool((view_distance(earlier, here) < SEEN_DISTANCE).any())


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
