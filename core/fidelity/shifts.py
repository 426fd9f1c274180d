"""The same place, slightly off, against another place: PSNR at the best shift of the picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float64, UInt8

from core.fidelity.pictures import psnr

SHIFT_SHARE = 0.04
"""Largest shift to each side, as a share of the width.

Every further shift that is tried helps unrelated frames, too: pairs and controls must be searched alike.
"""


@dataclass(frozen=True)
class ShiftedMatch:
    """The shift at which two frames are most alike.

    Attributes:
        psnr_db: Over the region that both show then.
        right_px: Columns by which the frame's content lies to the right of the reference's.
        down_px: Rows by which it lies below.
    """

    psnr_db: float
    right_px: int
    down_px: int


def largest_shift_px(width: int) -> int:
    """Pixels to each side that are tried for frames of this width, at least one."""
    return max(1, round(SHIFT_SHARE * width))


def shifted_psnr(
    frame: UInt8[np.ndarray, "height width 3"],
    reference: UInt8[np.ndarray, "height width 3"],
    *,
    max_shift_px: int | None = None,
    least_mse: float | None = None,
) -> ShiftedMatch:
    """PSNR at the best whole shift, over the region that overlaps.

    No shift is among the candidates, so this is never below plain PSNR. All shifts are tried at once: squared
    errors are sums of squares, from integral images, less twice a correlation, from Fourier transforms.

    Args:
        frame: What is compared.
        reference: With what.
        max_shift_px: Largest shift in all four directions; by default `SHIFT_SHARE` of the width.
        least_mse: As in `psnr`; None for its default.
    """
    score = psnr if least_mse is None else partial(psnr, least_mse=least_mse)
    height, width = frame.shape[:2]
    reach = largest_shift_px(width) if max_shift_px is None else max_shift_px
    down_most, right_most = min(reach, height - 1), min(reach, width - 1)
    down, right = np.arange(-down_most, down_most + 1), np.arange(-right_most, right_most + 1)
    errors = _squared_errors(frame, reference, down, right)
    pixels = 3 * (height - np.abs(down))[:, None] * (width - np.abs(right))
    row, column = np.unravel_index(int(np.argmin(errors / pixels)), errors.shape)
    best_down, best_right = int(down[row]), int(right[column])
    # Anew from whole numbers: free of the transforms' rounding.
    best = score(*_overlapping(frame, reference, best_down, best_right))
    plain = score(frame, reference)
    return ShiftedMatch(best, best_right, best_down) if best > plain else ShiftedMatch(plain, 0, 0)


def _overlapping(
    frame: UInt8[np.ndarray, "height width 3"],
    reference: UInt8[np.ndarray, "height width 3"],
    down: int,
    right: int,
) -> tuple[UInt8[np.ndarray, "rows cols 3"], UInt8[np.ndarray, "rows cols 3"]]:
    """What both show once the frame is moved back."""
    height, width = frame.shape[:2]
    rows = slice(max(0, down), height + min(0, down)), slice(max(0, -down), height + min(0, -down))
    cols = slice(max(0, right), width + min(0, right)), slice(max(0, -right), width + min(0, -right))
    return frame[rows[0], cols[0]], reference[rows[1], cols[1]]


def _squared_errors(
    frame: UInt8[np.ndarray, "height width 3"],
    reference: UInt8[np.ndarray, "height width 3"],
    down: np.ndarray,
    right: np.ndarray,
) -> Float64[np.ndarray, "downs rights"]:
    """Sum of squared differences over the overlapping region of every shift."""
    height, width = frame.shape[:2]
    a, b = frame.astype(np.float64), reference.astype(np.float64)
    shape = (height + int(down[-1]), width + int(right[-1]))  # room that wrapping round does no harm
    spectra = np.fft.rfft2(a, shape, axes=(0, 1)) * np.conj(np.fft.rfft2(b, shape, axes=(0, 1)))
    crossed = np.fft.irfft2(spectra.sum(axis=-1), shape, axes=(0, 1))
    errors: Float64[np.ndarray, "downs rights"] = (
        _energy(a, down, right) + _energy(b, -down, -right) - 2 * crossed[np.ix_(down, right)]
    )
    return errors


def _energy(
    picture: Float64[np.ndarray, "height width 3"], down: np.ndarray, right: np.ndarray
) -> Float64[np.ndarray, "downs rights"]:
    """Sum of squares over the part of the picture that overlaps at every shift."""
    height, width = picture.shape[:2]
    total = np.zeros((height + 1, width + 1))
    total[1:, 1:] = np.square(picture).sum(axis=-1).cumsum(axis=0).cumsum(axis=1)
    top, bottom = np.maximum(0, down)[:, None], (height + np.minimum(0, down))[:, None]
    left, end = np.maximum(0, right), width + np.minimum(0, right)
    inside: Float64[np.ndarray, "downs rights"] = (
        total[bottom, end] - total[top, end] - total[bottom, left] + total[top, left]
    )
    return inside
