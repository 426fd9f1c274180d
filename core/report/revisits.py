"""First visits and revisits of a run, compared on its video."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from core.fidelity.compare import compare_pairs
from core.fidelity.controls import matched_controls
from core.fidelity.pairs import FramePair, revisit_pairs
from core.fidelity.pictures import CODED_MSE
from core.report.source import RunSource
from trajectories.summary import MAX_SEARCHED_FRAMES

Frame = UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class Scored:
    """Two frames and how alike they are."""

    pair: FramePair
    psnr_db: float


@dataclass(frozen=True)
class Revisits:
    """Pairs of a run by the time of the revisit.

    Attributes:
        pairs: First visit against revisit.
        controls: Views of other places at the same gaps.
    """

    pairs: tuple[Scored, ...]
    controls: tuple[Scored, ...]

    @property
    def picks(self) -> dict[str, int]:
        """Indices of the best, the median and the worst pair."""
        order = sorted(range(len(self.pairs)), key=lambda i: -self.pairs[i].psnr_db)
        if not order:
            return {}
        found = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
        named = {
            index: name for name, index in reversed(found.items())
        }  # of few pairs, one may be two of them
        return {name: index for index, name in reversed(named.items())}

    @property
    def mean_psnr_db(self) -> float | None:
        """Mean over the pairs."""
        return float(np.mean([each.psnr_db for each in self.pairs])) if self.pairs else None

    @property
    def mean_control_db(self) -> float | None:
        """Mean over the controls."""
        return float(np.mean([each.psnr_db for each in self.controls])) if self.controls else None


@dataclass(frozen=True)
class Wanted:
    """Pairs to compare, known from the cameras."""

    pairs: tuple[FramePair, ...] = ()
    controls: tuple[FramePair, ...] = ()

    @property
    def frames(self) -> set[int]:
        """Frames that are needed of the video."""
        return {f for p in (*self.pairs, *self.controls) for f in (p.later, p.earlier)}


def wanted_pairs(run: RunSource) -> tuple[Wanted, str]:
    """Pairs by camera alone, and why there are none."""
    if run.track is None or run.video is None:
        return Wanted(), "Without a video and its cameras there is nothing to compare."
    c2w = run.track.cameras[: run.video.num_frames]
    if len(c2w) > MAX_SEARCHED_FRAMES:
        most = f"{MAX_SEARCHED_FRAMES:,}"
        return Wanted(), f"Revisits are searched in videos of up to {most} frames."
    given = run.given_frames
    pairs = revisit_pairs(c2w, given_frames=given)
    if not pairs:
        return Wanted(), "The camera never came back to a view after a gap of 30 frames."
    return Wanted(tuple(pairs), tuple(matched_controls(c2w, pairs, given_frames=given))), ""


def score(wanted: Wanted, frames: dict[int, Frame]) -> Revisits:
    """Compare the pairs of which both frames are there; what coding leaves counts as no error."""
    found = compare_pairs(frames, wanted.pairs, wanted.controls, motion=0.0, least_mse=CODED_MSE)
    return Revisits(
        tuple(Scored(p, db) for p, db in zip(found.pairs, found.psnr_db, strict=True)),
        tuple(Scored(p, db) for p, db in zip(found.controls, found.control_psnr_db, strict=True)),
    )
