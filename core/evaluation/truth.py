"""Against the true world: the embedded model's room, which the run's own settings make again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from core.evaluation.footage import Frame
from core.evaluation.protocol import Protocol
from core.evaluation.recording import Recording
from core.fidelity.pairs import FramePair, view_distance
from core.fidelity.pictures import psnr, sharpness
from core.models.mini.model import WEIGHTS, read_config
from core.models.mini.world import World
from core.schemas.eval import TruthScore

GIVEN_DISTANCE = 0.02
"""How near a returned view must be to a given one, |translation| + angle / pi, to be judged as given."""
EARLY_FRAMES = (1, 2, 3)


@dataclass(frozen=True, eq=False)
class Truth:
    """The true world of a run.

    Attributes:
        world: The room around its path.
        returning: Generated frames that return somewhere.
        given: Generated frames whose view had been given.
        early: The first frames after a given picture; none after a given clip.
    """

    world: World
    returning: tuple[int, ...]
    given: tuple[int, ...]
    early: tuple[int, ...]

    @property
    def frames(self) -> frozenset[int]:
        """All that are looked at."""
        return frozenset((*self.returning, *self.given, *self.early))

    def picture(self, frame: int) -> UInt8[np.ndarray, "height width 3"]:
        """The true picture of a frame."""
        picture = (self.world.pictures(frame, frame + 1)[0].clamp(0, 1) * 255).round().to(torch.uint8)
        true: UInt8[np.ndarray, "height width 3"] = picture.permute(1, 2, 0).numpy()
        return true


def why_no_truth(recording: Recording) -> str:
    """Why nobody knows the true world of a run; empty where it is known."""
    if recording.config.model != "mini":
        return f"nobody knows the true world of {recording.config.model}"
    for key in ("image", "prefix"):
        value = getattr(recording.config, key)
        if isinstance(value, Path):
            return f"the run began with {value}, not in mini's own world"
    return ""


def find_truth(
    recording: Recording, pairs: Sequence[FramePair], protocol: Protocol, stop: int
) -> Truth | None:
    """The true world of a run, and the frames to compare with it; None where it is not known."""
    if why_no_truth(recording):
        return None
    world = World.around(recording.script.trajectory, recording.config.world_seed, read_config(WEIGHTS))
    begin = recording.given_frames
    returning = tuple(pair.later for pair in pairs if pair.later >= begin)
    given = [f for f in range(begin, stop) if _was_given(recording, f, protocol.min_gap_frames)]
    if len(given) > protocol.max_pairs:
        chosen = np.linspace(0, len(given) - 1, protocol.max_pairs).round().astype(int)
        given = [given[index] for index in chosen]
    early = () if begin else tuple(f for f in EARLY_FRAMES if f < stop)
    return Truth(world, returning, tuple(given), early)


def _was_given(recording: Recording, frame: int, min_gap_frames: int) -> bool:
    """Whether the view of a frame is among the given ones, long enough ago."""
    c2w = recording.c2w
    earlier = c2w[: max(0, min(recording.given_frames, frame - min_gap_frames + 1))]
    here = np.broadcast_to(c2w[frame], earlier.shape)
    return bool((view_distance(earlier, here) <= GIVEN_DISTANCE).any())


def truth_psnrs(truth: Truth, frames: Mapping[int, Frame]) -> dict[int, float]:
    """PSNR of every frame that is looked at, against the true one."""
    return {f: psnr(frames[f], truth.picture(f)) for f in sorted(truth.frames) if f in frames}


def truth_score(truth: Truth, frames: Mapping[int, Frame], psnrs: Mapping[int, float]) -> TruthScore:
    """The same in a few numbers."""

    def mean(some: Sequence[int]) -> float | None:
        values = [psnrs[f] for f in some if f in psnrs]
        return float(np.mean(values)) if values else None

    ratios = [sharpness(frames[f], truth.picture(f)) for f in truth.returning if f in frames]
    return TruthScore(
        revisit_psnr_db=mean(truth.returning),
        given_psnr_db=mean(truth.given),
        given_views=len([f for f in truth.given if f in psnrs]),
        early_psnr_db=mean(truth.early),
        sharpness=float(np.mean(ratios)) if ratios else None,
    )
