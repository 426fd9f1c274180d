"""How alike two pictures are, in numpy."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Float64, UInt8

from core.errors import InputError

_LUMA = np.array([0.299, 0.587, 0.114])  # BT.601, as PSNR and SSIM of RGB pictures are customarily taken
_ROUNDING_MSE = 1 / 12  # variance of rounding to whole grey levels
CODED_MSE = 2.0
"""What H.264 leaves of error in squared grey levels at our quality: 45.1 dB, measured on mini's videos.

Frames of a video that differ by less are equal as far as anybody can tell: a frozen picture would else have
as many dB as the encoder's whims give it.
"""

_SSIM_TAPS, _SSIM_SIGMA = 11, 1.5


def psnr(
    a: UInt8[np.ndarray, "height width 3"],
    b: UInt8[np.ndarray, "height width 3"],
    *,
    least_mse: float = _ROUNDING_MSE,
) -> float:
    """Peak signal-to-noise ratio in dB, over all three colours.

    The error counts as at least what rounding to whole grey levels leaves (variance 1/12), so that equal
    frames have 58.9 dB rather than infinity, and means stay means.

    Args:
        a: A frame.
        b: Another one.
        least_mse: Squared grey levels that the error counts as at least: below, it is not the frames'.
    """
    mse = float(np.mean(np.square(a.astype(np.float64) - b)))
    return float(10 * np.log10(255**2 / max(mse, least_mse)))


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


def mean_motion(frames: UInt8[np.ndarray, "frames height width 3"]) -> float:
    """Mean absolute change from each frame to the next, in grey levels of 255; 0 for a single frame."""
    changes = [
        float(np.mean(np.abs(later.astype(np.int16) - earlier))) for earlier, later in pairwise(frames)
    ]
    return float(np.mean(changes)) if changes else 0.0


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
