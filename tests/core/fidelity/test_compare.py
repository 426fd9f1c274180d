"""First visits against revisits, as a run measures them itself."""

import numpy as np
import pytest

import trajectories
from core.fidelity.compare import revisit_fidelity
from core.fidelity.controls import matched_controls
from core.fidelity.pairs import revisit_pairs
from tests.core.fidelity.scenes import OUT_AND_BACK, noise, panorama_view, smooth_panorama, turning


class TestRevisitFidelity:
    def test_a_world_that_remembers_gains(self) -> None:
        panorama = smooth_panorama()
        frames = np.stack([panorama_view(panorama, yaw) for yaw in OUT_AND_BACK])
        result = revisit_fidelity(frames, turning(OUT_AND_BACK))
        assert result.revisit is not None
        assert result.revisit.psnr_db > 35
        assert result.gain_psnr_db is not None
        assert result.gain_psnr_db > 10
        assert result.gain_ssim is not None
        assert result.gain_ssim > 0.2
        assert result.revisit.psnr_db == pytest.approx(np.mean(result.psnr_db))
        assert result.motion > 1

    def test_a_frozen_picture_gains_nothing(self) -> None:
        frames = np.broadcast_to(noise(0, 48, 64), (len(OUT_AND_BACK), 48, 64, 3))
        result = revisit_fidelity(frames, turning(OUT_AND_BACK))
        assert result.revisit is not None
        assert result.revisit.psnr_db > 58  # the raw number that a frozen picture would win with
        assert result.gain_psnr_db == pytest.approx(0.0, abs=1e-9)
        assert result.gain_ssim == pytest.approx(0.0, abs=1e-9)
        assert result.motion == 0

    def test_a_world_that_forgets_gains_nothing(self) -> None:
        frames = np.stack([noise(seed, 48, 64) for seed in range(len(OUT_AND_BACK))])
        result = revisit_fidelity(frames, turning(OUT_AND_BACK))
        assert result.gain_psnr_db == pytest.approx(0.0, abs=0.1)

    def test_library_trajectory_has_pairs_and_controls(self) -> None:
        c2w = trajectories.load("out-and-back").c2w
        pairs = revisit_pairs(c2w)
        assert 0 < len(pairs) <= 64
        assert len(matched_controls(c2w, pairs)) == len(pairs)

    def test_without_returns_there_is_nothing_to_compare(self) -> None:
        yaws = np.arange(0.0, 60.0)
        result = revisit_fidelity(noise(0, 60, 48, 64), turning(yaws))
        assert (result.pairs, result.revisit, result.gain_psnr_db, result.gain_ssim) == ((), None, None, None)
