import numpy as np
import pytest

import trajectories
from core.errors import InputError
from core.fidelity.compare import revisit_fidelity
from core.fidelity.intervals import bootstrap_ci
from core.fidelity.pairs import FramePair, control_pairs, revisit_pairs, view_distance
from core.fidelity.pictures import mean_motion, psnr, sharpness, ssim


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def turning(yaws_deg: np.ndarray) -> np.ndarray:
    """Cameras that turn on the spot."""
    c2w = np.stack([np.eye(4)] * len(yaws_deg))
    yaw = np.radians(yaws_deg)
    c2w[:, 0, 0] = c2w[:, 2, 2] = np.cos(yaw)
    c2w[:, 0, 2], c2w[:, 2, 0] = np.sin(yaw), -np.sin(yaw)
    return c2w


OUT_AND_BACK = np.concatenate([np.arange(0, 90, 2.0), np.arange(90, -1, -2.0)])


def panorama_view(panorama: np.ndarray, yaw_deg: float) -> np.ndarray:
    """What a camera sees of a world that is a long picture, 2 columns a degree."""
    start = round(2 * (yaw_deg + 90))
    return panorama[:, start : start + 64]


def smooth_panorama() -> np.ndarray:
    rough = np.random.default_rng(0).normal(size=(48, 500, 3)).cumsum(axis=1).cumsum(axis=0)
    rough = (rough - rough.min()) / (rough.max() - rough.min())
    stripes = 60 * np.sin(np.arange(500) * np.random.default_rng(1).uniform(0.1, 0.4))[None, :, None]
    return np.clip(rough * 195 + 30 + stripes, 0, 255).astype(np.uint8)


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


class TestPairs:
    def test_out_and_back_meets_its_own_views(self) -> None:
        c2w = turning(OUT_AND_BACK)
        pairs = revisit_pairs(c2w, max_distance=0.02)
        assert FramePair(later=90, earlier=0) in pairs
        assert {OUT_AND_BACK[pair.later] - OUT_AND_BACK[pair.earlier] for pair in pairs} <= {0.0, -2.0, 2.0}
        assert min(pair.gap_frames for pair in pairs) >= 30

    def test_at_most_max_pairs_spread_over_the_rollout(self) -> None:
        c2w = turning(np.tile(OUT_AND_BACK, 10))
        pairs = revisit_pairs(c2w, max_pairs=64)
        assert len(pairs) == 64
        assert pairs[0].later < 100
        assert pairs[-1].later == len(c2w) - 1

    def test_no_return_no_pairs(self) -> None:
        assert revisit_pairs(turning(np.arange(0.0, 90.0))) == []

    def test_controls_look_elsewhere_at_the_same_gaps(self) -> None:
        c2w = turning(OUT_AND_BACK)
        pairs = revisit_pairs(c2w)
        controls = control_pairs(c2w, pairs)
        assert len(controls) == len(pairs)
        later, earlier = (
            np.array([getattr(each, name) for each in controls]) for name in ("later", "earlier")
        )
        assert view_distance(c2w[later], c2w[earlier]).min() >= 0.3
        gaps = [(one.gap_frames, other.gap_frames) for one, other in zip(pairs, controls, strict=True)]
        near = [abs(a - b) for a, b in gaps]
        assert np.mean(near) < 25
        assert sum(a == b for a, b in gaps) > len(gaps) / 2
        assert controls == control_pairs(c2w, pairs)
        assert controls != control_pairs(c2w, pairs, seed=1)

    def test_laps_that_repeat_exactly_take_the_nearest_gap(self) -> None:
        c2w = turning(np.tile(np.arange(0, 360, 6.0), 3))  # at a gap of 60 every pair is a revisit
        (control,) = control_pairs(c2w, [FramePair(later=60, earlier=0)])
        assert control.gap_frames == 51  # 54 degrees

    def test_camera_that_never_looks_elsewhere_has_no_controls(self) -> None:
        c2w = turning(np.zeros(80))
        assert control_pairs(c2w, [FramePair(later=60, earlier=0)]) == []

    def test_view_distance(self) -> None:
        a, b = turning(np.array([0.0])), turning(np.array([90.0]))
        b[0, :3, 3] = (3.0, 0.0, 4.0)
        assert view_distance(a, b) == pytest.approx([5.5])


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
        assert len(control_pairs(c2w, pairs)) == len(pairs)

    def test_without_returns_there_is_nothing_to_compare(self) -> None:
        yaws = np.arange(0.0, 60.0)
        result = revisit_fidelity(noise(0, 60, 48, 64), turning(yaws))
        assert (result.pairs, result.revisit, result.gain_psnr_db, result.gain_ssim) == ((), None, None, None)


def test_motion() -> None:
    frames = np.stack([np.full((12, 16, 3), 10 * t, np.uint8) for t in range(4)])
    assert mean_motion(frames) == 10.0
    assert mean_motion(frames[:1]) == 0.0


class TestBootstrap:
    def test_covers_the_mean(self) -> None:
        rng = np.random.default_rng(3)
        covered = 0
        for seed in range(100):
            low, high = bootstrap_ci(rng.normal(5.0, 2.0, 32), seed=seed, num_resamples=400)
            covered += low <= 5.0 <= high
        assert 86 <= covered <= 100

    def test_is_deterministic(self) -> None:
        assert bootstrap_ci([1.0, 2.0, 4.0], seed=7) == bootstrap_ci([1.0, 2.0, 4.0], seed=7)

    def test_one_value_has_no_spread(self) -> None:
        assert bootstrap_ci([3.5]) == (3.5, 3.5)

    @pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
    def test_refuses(self, values: list[float]) -> None:
        with pytest.raises(InputError, match="an interval needs finite values"):
            bootstrap_ci(values)
