"""Does the world look the same when the camera comes back? Pairs by camera alone, and metrics in numpy.

A raw number means little: a frozen picture matches itself perfectly. So every figure comes with its control,
the same metric between frames that look elsewhere, at the same gap in time; what counts is the gain over it.
Source of the control: R2M-Bench, arXiv:2608.27328.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from core.errors import InputError
from trajectories.geometry import revisits

MAX_DISTANCE = 0.15
"""Largest |translation| + angle / pi of a revisit: 27 degrees, or 0.15 world units."""
MIN_GAP_FRAMES = 30
MAX_PAIRS = 64
CONTROL_DISTANCE = 0.3
"""Least distance of a control pair: far enough that most of the view differs."""

_LUMA = np.array([0.299, 0.587, 0.114])  # BT.601, as PSNR and SSIM of RGB pictures are customarily taken
_ROUNDING_MSE = 1 / 12  # variance of rounding to whole grey levels
_SSIM_TAPS, _SSIM_SIGMA = 11, 1.5


@dataclass(frozen=True)
class FramePair:
    """Two frames of one rollout, `later` after `earlier`."""

    later: int
    earlier: int

    @property
    def gap_frames(self) -> int:
        """Video frames between them."""
        return self.later - self.earlier


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


def psnr(a: UInt8[np.ndarray, "height width 3"], b: UInt8[np.ndarray, "height width 3"]) -> float:
    """Peak signal-to-noise ratio in dB, over all three colours.

    The error counts as at least what rounding to whole grey levels leaves (variance 1/12), so that equal
    frames have 58.9 dB rather than infinity, and means stay means.
    """
    mse = float(np.mean(np.square(a.astype(np.float64) - b)))
    return float(10 * np.log10(255**2 / max(mse, _ROUNDING_MSE)))


def ssim(a: UInt8[np.ndarray, "height width 3"], b: UInt8[np.ndarray, "height width 3"]) -> float:
    """Structural similarity of luma: Gaussian window of 11x11 and sigma 1.5, whole windows only.

    Source: Wang et al. 2004, Image Quality Assessment, section III.

    Raises:
        InputError: A side of the frames is below 11 pixels.
    """
    if min(a.shape[:2]) < _SSIM_TAPS:
        raise InputError(f"SSIM needs frames of at least 11x11 pixels, got {a.shape[1]}x{a.shape[0]}")
    x, y = luma(a), luma(b)
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float(np.mean(similarity / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))))


def sharpness(frame: UInt8[np.ndarray, "h w 3"], reference: UInt8[np.ndarray, "height width 3"]) -> float:
    """Gradient energy of `frame` over that of `reference`: 1 is as sharp, below is blurred.

    One grey level squared is added to both, so that two flat pictures are equally sharp.
    """
    return (_gradient_energy(frame) + 1.0) / (_gradient_energy(reference) + 1.0)


def luma(frame: UInt8[np.ndarray, "height width 3"]) -> Float64[np.ndarray, "height width"]:
    """Brightness of an RGB frame, 0 to 255."""
    brightness: Float64[np.ndarray, "height width"] = frame @ _LUMA
    return brightness


def revisit_pairs(
    c2w: Float64[np.ndarray, "frames 4 4"],
    *,
    max_distance: float = MAX_DISTANCE,
    min_gap_frames: int = MIN_GAP_FRAMES,
    max_pairs: int = MAX_PAIRS,
) -> list[FramePair]:
    """Frames that return to an earlier view, each with its earliest visit; evenly thinned to `max_pairs`."""
    found = revisits(c2w, max_distance=max_distance, min_gap_frames=min_gap_frames)
    pairs = [FramePair(later=each.frame, earlier=each.first_frame) for each in found]
    if len(pairs) <= max_pairs:
        return pairs
    chosen = np.linspace(0, len(pairs) - 1, max_pairs).round().astype(int)
    return [pairs[index] for index in chosen]


def control_pairs(
    c2w: Float64[np.ndarray, "frames 4 4"],
    pairs: Sequence[FramePair],
    *,
    min_distance: float = CONTROL_DISTANCE,
    seed: int = 0,
) -> list[FramePair]:
    """For each pair another one with the same gap whose views lie at least `min_distance` apart.

    Where no two such frames have this gap (a lap that repeats exactly), the nearest gap that has some serves.
    Which of the candidates is chosen depends on `seed` alone.
    """
    rng = np.random.default_rng(seed)
    found: list[FramePair] = []
    candidates: dict[int, Int64[np.ndarray, " later"]] = {}
    for pair in pairs:
        for gap in _gaps_by_nearness(pair.gap_frames, len(c2w)):
            if gap not in candidates:
                distance = view_distance(c2w[gap:], c2w[:-gap])
                candidates[gap] = gap + np.flatnonzero(distance >= min_distance)
            if len(candidates[gap]):
                later = int(rng.choice(candidates[gap]))
                found.append(FramePair(later=later, earlier=later - gap))
                break
    return found


def view_distance(
    a: Float64[np.ndarray, "frames 4 4"], b: Float64[np.ndarray, "frames 4 4"]
) -> Float64[np.ndarray, " frames"]:
    """|translation| + angle / pi between two cameras each, the distance that defines revisits."""
    cosine = (np.einsum("fij,fij->f", a[:, :3, :3], b[:, :3, :3]) - 1) / 2
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    distance: Float64[np.ndarray, " frames"] = (
        np.linalg.norm(a[:, :3, 3] - b[:, :3, 3], axis=1) + angle / np.pi
    )
    return distance


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
    controls = control_pairs(c2w, pairs, seed=seed)
    return compare_pairs(dict(enumerate(frames)), pairs, controls, motion=mean_motion(frames))


def compare_pairs(
    frames: Mapping[int, UInt8[np.ndarray, "height width 3"]],
    pairs: Sequence[FramePair],
    controls: Sequence[FramePair],
    *,
    motion: float,
) -> RevisitFidelity:
    """The same from the frames of the pairs alone.

    Args:
        frames: Frame number to frame; pairs of which one is missing are left out.
        pairs: First visit and revisit.
        controls: Pairs that look elsewhere.
        motion: Mean absolute change from frame to frame, grey levels of 255.
    """
    pairs, controls = (
        [p for p in some if p.later in frames and p.earlier in frames] for some in (pairs, controls)
    )
    psnrs, ssims = _each(psnr, frames, pairs), _each(ssim, frames, pairs)
    control_psnrs, control_ssims = _each(psnr, frames, controls), _each(ssim, frames, controls)
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


def mean_motion(frames: UInt8[np.ndarray, "frames height width 3"]) -> float:
    """Mean absolute change from each frame to the next, in grey levels of 255; 0 for a single frame."""
    changes = [
        float(np.mean(np.abs(later.astype(np.int16) - earlier))) for earlier, later in pairwise(frames)
    ]
    return float(np.mean(changes)) if changes else 0.0


def bootstrap_ci(
    values: Sequence[float] | Float64[np.ndarray, " values"],
    *,
    seed: int = 0,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
) -> tuple[float, float]:
    """Confidence interval of the mean: percentiles of the means of samples drawn with replacement.

    Draw over rollouts, not over the pairs of one rollout: those are not independent.

    Raises:
        InputError: There are no values, or one is not finite.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0 or not np.isfinite(sample).all():
        raise InputError(
            f"an interval needs finite values, got {sample.size} of them", hint="leave out empty runs"
        )
    rng = np.random.default_rng(seed)
    means = np.array([rng.choice(sample, sample.size).mean() for _ in range(num_resamples)])
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


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


def _gaps_by_nearness(gap: int, num_frames: int) -> Iterator[int]:
    yield gap
    for off in range(1, num_frames):
        yield from (other for other in (gap - off, gap + off) if 0 < other < num_frames)


def _gradient_energy(frame: UInt8[np.ndarray, "height width 3"]) -> float:
    brightness = luma(frame)
    return float(np.mean(np.diff(brightness, axis=0) ** 2) + np.mean(np.diff(brightness, axis=1) ** 2))


def _blur(picture: Float64[np.ndarray, "height width"]) -> Float64[np.ndarray, "h w"]:
    """Gaussian mean around every pixel whose window fits."""
    offsets = np.arange(_SSIM_TAPS) - _SSIM_TAPS // 2
    taps = np.exp(-(offsets**2) / (2 * _SSIM_SIGMA**2))
    taps /= taps.sum()
    height, width = (size - _SSIM_TAPS + 1 for size in picture.shape)
    rows = np.zeros((height, picture.shape[1]))
    for index, tap in enumerate(taps):
        rows += tap * picture[index : index + height]
    mean = np.zeros((height, width))
    for index, tap in enumerate(taps):
        mean += tap * rows[:, index : index + width]
    return mean
