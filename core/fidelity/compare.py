"""First visits against revisits, and views of other places against each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float64, UInt8

from core.fidelity.controls import matched_controls
from core.fidelity.pairs import FramePair, revisit_pairs
from core.fidelity.pictures import mean_motion, psnr, sharpness, ssim


@dataclass(frozen=True)
class Metrics:
    """Means over pairs.

    Attributes:
        psnr_db: Peak signal-to-noise ratio.
        ssim: Structural similarity, of luma. Range: [-1, 1].
        sharpness: Gradient energy of the later frame over the earlier's: below 1, it blurs.
    """

    psnr_db: float
    ssim: float
    sharpness: float


@dataclass(frozen=True)
class RevisitFidelity:
    """How well a rollout remembers.

    Attributes:
        pairs: First visit and revisit.
        controls: Pairs that look elsewhere, at the same gaps where there are such.
        revisit: Means over `pairs`; None if the trajectory never returns.
        control: Means over `controls`; None if it never looks elsewhere.
        psnr_db: One value a pair, for intervals.
        ssim: One value a pair.
        control_psnr_db: One value a control pair.
        control_ssim: One value a control pair.
        motion: Mean absolute change from frame to frame, grey levels of 255. 0: the picture is frozen.
    """

    pairs: tuple[FramePair, ...]
    controls: tuple[FramePair, ...]
    revisit: Metrics | None
    control: Metrics | None
    psnr_db: tuple[float, ...]
    ssim: tuple[float, ...]
    control_psnr_db: tuple[float, ...]
    control_ssim: tuple[float, ...]
    motion: float

    @property
    def gain_psnr_db(self) -> float | None:
        """How much better a revisit matches than another place does; None without pairs or controls."""
        if self.revisit is None or self.control is None:
            return None
        return self.revisit.psnr_db - self.control.psnr_db

    @property
    def gain_ssim(self) -> float | None:
        """The same in SSIM."""
        if self.revisit is None or self.control is None:
            return None
        return self.revisit.ssim - self.control.ssim


def revisit_fidelity(
    frames: UInt8[np.ndarray, "frames height width 3"],
    c2w: Float64[np.ndarray, "frames 4 4"],
    *,
    seed: int = 0,
) -> RevisitFidelity:
    """Compare what a rollout showed on the first visit with what it shows on return.

    Args:
        frames: The rollout's video.
        c2w: Its camera path, a matrix a frame.
        seed: Chooses the control pairs.
    """
    pairs = revisit_pairs(c2w)
    controls = matched_controls(c2w, pairs, seed=seed)
    return compare_pairs(dict(enumerate(frames)), pairs, controls, motion=mean_motion(frames))


def compare_pairs(
    frames: Mapping[int, UInt8[np.ndarray, "height width 3"]],
    pairs: Sequence[FramePair],
    controls: Sequence[FramePair],
    *,
    motion: float,
    least_mse: float | None = None,
) -> RevisitFidelity:
    """The same from the frames of the pairs alone.

    Args:
        frames: Frame number to frame; pairs of which one is missing are left out.
        pairs: First visit and revisit.
        controls: Pairs that look elsewhere.
        motion: Mean absolute change from frame to frame, grey levels of 255.
        least_mse: Squared grey levels that the error counts as at least; None for what rounding leaves, as in
            frames that were never coded.
    """
    floored = psnr if least_mse is None else partial(psnr, least_mse=least_mse)
    pairs, controls = (
        [p for p in some if p.later in frames and p.earlier in frames] for some in (pairs, controls)
    )
    psnrs, ssims = _each(floored, frames, pairs), _each(ssim, frames, pairs)
    control_psnrs, control_ssims = _each(floored, frames, controls), _each(ssim, frames, controls)
    return RevisitFidelity(
        pairs=tuple(pairs),
        controls=tuple(controls),
        revisit=_means(psnrs, ssims, _each(sharpness, frames, pairs)),
        control=_means(control_psnrs, control_ssims, _each(sharpness, frames, controls)),
        psnr_db=psnrs,
        ssim=ssims,
        control_psnr_db=control_psnrs,
        control_ssim=control_ssims,
        motion=motion,
    )


def _each(
    metric: Callable[[np.ndarray, np.ndarray], float],
    frames: Mapping[int, UInt8[np.ndarray, "height width 3"]],
    pairs: Sequence[FramePair],
) -> tuple[float, ...]:
    return tuple(metric(frames[pair.later], frames[pair.earlier]) for pair in pairs)


def _means(psnrs: Sequence[float], ssims: Sequence[float], ratios: Sequence[float]) -> Metrics | None:
    if not psnrs:
        return None
    return Metrics(float(np.mean(psnrs)), float(np.mean(ssims)), float(np.mean(ratios)))
