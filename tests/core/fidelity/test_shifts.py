"""The same place, slightly off."""

import numpy as np
import pytest

from core.fidelity.pictures import psnr
from core.fidelity.shifts import ShiftedMatch, largest_shift_px, shifted_psnr
from tests.core.fidelity.scenes import noise


def slowly(frame: np.ndarray, reference: np.ndarray, reach: int) -> ShiftedMatch:
    """Every shift, one after another."""
    height, width = frame.shape[:2]
    best = ShiftedMatch(psnr(frame, reference), 0, 0)
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            a = frame[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)]
            b = reference[max(0, -down) : height + min(0, -down), max(0, -right) : width + min(0, -right)]
            if psnr(a, b) > best.psnr_db:
                best = ShiftedMatch(psnr(a, b), right, down)
    return best


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_trying_every_shift(seed: int) -> None:
    a, b = noise(seed, 17, 26), noise(seed + 100, 17, 26)
    assert shifted_psnr(a, b, max_shift_px=4) == slowly(a, b, 4)


@pytest.mark.parametrize(("right", "down"), [(3, -2), (0, 0), (-3, 1)])
def test_finds_the_shift(right: int, down: int) -> None:
    scene = noise(0, 60, 100)
    reference, frame = scene[10:50, 10:80], scene[10 - down : 50 - down, 10 - right : 80 - right]
    found = shifted_psnr(frame, reference)
    assert (found.right_px, found.down_px) == (right, down)
    assert found.psnr_db == pytest.approx(58.92, abs=0.01)


def test_never_below_plain_psnr_and_higher_for_strangers_too() -> None:
    """Why the control has to be searched alike."""
    gains = [shifted_psnr(noise(s, 48, 80), noise(s + 50, 48, 80)).psnr_db for s in range(8)]
    plain = [psnr(noise(s, 48, 80), noise(s + 50, 48, 80)) for s in range(8)]
    assert all(a >= b for a, b in zip(gains, plain, strict=True))
    assert np.mean(gains) > np.mean(plain)


def test_reach_is_a_share_of_the_width() -> None:
    assert [largest_shift_px(width) for width in (8, 80, 832)] == [1, 3, 33]


def test_frames_smaller_than_the_reach() -> None:
    assert shifted_psnr(noise(0, 3, 3), noise(0, 3, 3), max_shift_px=9).psnr_db > 58
