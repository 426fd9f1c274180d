"""How alike two pictures are."""

import numpy as np
import pytest

from core.errors import InputError
from core.fidelity.pictures import mean_motion, psnr, sharpness, ssim
from tests.core.fidelity.scenes import noise


class TestPsnr:
    def test_known_error(self) -> None:
        black = np.zeros((12, 16, 3), np.uint8)
        assert psnr(black, black + 16) == pytest.approx(20 * np.log10(255 / 16))

    def test_equal_frames_are_finite(self) -> None:
        frame = noise(0, 12, 16)
        assert psnr(frame, frame) == pytest.approx(58.92, abs=0.01)

    def test_order_does_not_matter(self) -> None:
        a, b = noise(0, 12, 16), noise(1, 12, 16)
        assert psnr(a, b) == psnr(b, a)


class TestSsim:
    def test_agrees_with_the_definition_window_by_window(self) -> None:
        a = noise(0, 14, 17)
        b = np.clip(a.astype(int) + np.random.default_rng(2).integers(-40, 40, a.shape), 0, 255).astype(
            np.uint8
        )
        offsets = np.arange(-5, 6)
        window = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
        window /= window.sum()
        x, y = (frame @ np.array([0.299, 0.587, 0.114]) for frame in (a, b))
        values = []
        for row in range(4):
            for column in range(7):
                u, v = x[row : row + 11, column : column + 11], y[row : row + 11, column : column + 11]
                mu, mv = (window * u).sum(), (window * v).sum()
                cov = (window * (u - mu) * (v - mv)).sum()
                var_u, var_v = (window * (u - mu) ** 2).sum(), (window * (v - mv) ** 2).sum()
                top = (2 * mu * mv + 6.5025) * (2 * cov + 58.5225)
                values.append(top / ((mu**2 + mv**2 + 6.5025) * (var_u + var_v + 58.5225)))
        assert ssim(a, b) == pytest.approx(np.mean(values), abs=1e-10)

    def test_equal_frames(self) -> None:
        assert ssim(noise(0, 12, 16), noise(0, 12, 16)) == pytest.approx(1.0)

    def test_unrelated_frames(self) -> None:
        assert abs(ssim(noise(0, 48, 64), noise(1, 48, 64))) < 0.05

    def test_too_small(self) -> None:
        with pytest.raises(InputError, match="at least 11x11 pixels, got 16x10"):
            ssim(noise(0, 10, 16), noise(0, 10, 16))


class TestSharpness:
    def test_blur_loses_gradient_energy(self) -> None:
        frame = noise(0, 48, 64)
        blurred = ((frame[:, :-1].astype(int) + frame[:, 1:]) // 2).astype(np.uint8)
        assert sharpness(frame, frame) == 1.0
        assert sharpness(blurred, frame) < 0.8
        assert sharpness(frame, blurred) > 1.25

    def test_flat_pictures(self) -> None:
        flat = np.full((12, 16, 3), 90, np.uint8)
        assert sharpness(flat, flat + 5) == 1.0


def test_motion() -> None:
    frames = np.stack([np.full((12, 16, 3), 10 * t, np.uint8) for t in range(4)])
    assert mean_motion(frames) == 10.0
    assert mean_motion(frames[:1]) == 0.0
