"""What frozen, noisy, blurred and faithful videos come out with."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from core.evaluation import scores
from core.evaluation.comparison import Metrics
from core.evaluation.protocol import Protocol
from core.evaluation.scores import Place, score_run
from core.schemas.eval import RunScore
from tests.core.evaluation.runs import opened, true_frames, write_around

PROTOCOL = Protocol(min_gap_frames=20)


@pytest.fixture(scope="module")
def traj(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_around(tmp_path_factory.mktemp("traj"))


@pytest.fixture(scope="module")
def world(traj: Path) -> np.ndarray:
    return true_frames(traj)


def scored(folder: Path, traj: Path, frames: np.ndarray, **settings: object) -> RunScore:
    recording = opened(folder / "run", traj, frames, **settings)
    return score_run(recording, Place("sink", "x", recording.num_frames), PROTOCOL, Metrics())


def blurred(frames: np.ndarray) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(f).filter(ImageFilter.GaussianBlur(2))) for f in frames])


def test_a_world_that_remembers(tmp_path: Path, traj: Path, world: np.ndarray) -> None:
    run = scored(tmp_path, traj, world)
    assert run.revisit is not None
    assert run.gain is not None
    assert run.truth is not None
    assert run.gain.psnr_db > 10
    assert run.gain.ssim > 0.4
    assert run.gain.shifted_psnr_db > 8
    assert run.revisit.sharpness == pytest.approx(1.0, abs=0.1)
    assert run.truth.sharpness == pytest.approx(1.0, abs=0.05)
    assert run.truth.revisit_psnr_db is not None
    assert run.truth.revisit_psnr_db > 38  # what compression leaves
    assert run.control is not None
    assert run.control.pairs == run.revisit.pairs == len(run.pairs) / 2


def test_a_frozen_video_gains_nothing(tmp_path: Path, traj: Path, world: np.ndarray) -> None:
    run = scored(tmp_path, traj, np.repeat(world[:1], len(world), axis=0))
    assert run.gain is not None
    assert run.revisit is not None
    assert run.revisit.psnr_db > 40  # the raw number that a frozen picture would win with
    assert run.gain.psnr_db == pytest.approx(0.0, abs=0.1)
    assert run.gain.shifted_psnr_db == pytest.approx(0.0, abs=0.1)
    assert run.gain.ssim == pytest.approx(0.0, abs=0.005)
    assert run.motion < 0.5


def test_noise_gains_nothing(tmp_path: Path, traj: Path, world: np.ndarray) -> None:
    frames = np.random.default_rng(0).integers(0, 256, world.shape, dtype=np.uint8)
    run = scored(tmp_path, traj, frames)
    assert run.gain is not None
    assert run.gain.psnr_db == pytest.approx(0.0, abs=0.1)
    assert run.gain.shifted_psnr_db == pytest.approx(0.0, abs=0.1)
    assert run.gain.ssim == pytest.approx(0.0, abs=0.01)
    assert run.motion > 50


def test_blur_is_told_by_sharpness(tmp_path: Path, traj: Path, world: np.ndarray) -> None:
    """Blur raises PSNR between visits: the gain alone would not tell."""
    run = scored(tmp_path, traj, np.concatenate([world[:1], blurred(world[1:])]))
    assert run.gain is not None
    assert run.truth is not None
    assert run.start_sharpness is not None
    assert run.truth.sharpness is not None
    assert run.gain.psnr_db > 10
    assert run.truth.sharpness < 0.4
    crisp = scored(tmp_path / "crisp", traj, world)
    assert crisp.start_sharpness is not None
    assert run.start_sharpness < 0.5 * crisp.start_sharpness


def test_another_world_is_not_the_true_one(tmp_path: Path, traj: Path) -> None:
    run = scored(tmp_path, traj, true_frames(traj, world_seed=5))
    assert run.truth is not None
    assert run.truth.revisit_psnr_db is not None
    assert run.truth.revisit_psnr_db < 20
    assert run.gain is not None
    assert run.gain.psnr_db > 10  # it remembers, but something else


def test_given_frames_are_no_revisits_but_first_visits(tmp_path: Path, traj: Path, world: np.ndarray) -> None:
    run = scored(tmp_path, traj, world, given_chunks=14, prefix=14)
    assert min(pair.later for pair in run.pairs) >= 42
    assert run.truth is not None
    assert run.truth.given_views > 0
    assert run.truth.given_psnr_db is not None
    assert run.truth.given_psnr_db > 38
    assert run.truth.early_psnr_db is None
    assert run.raw is None


def test_no_truth_for_a_picture_of_ones_own(tmp_path: Path, traj: Path, world: np.ndarray) -> None:
    picture = tmp_path / "mine.png"
    Image.fromarray(world[0]).save(picture)
    run = scored(tmp_path, traj, world, image=picture)
    assert run.truth is None
    assert run.no_truth == f"the run began with {picture}, not in mini's own world"
    assert {pair.truth_psnr_db for pair in run.pairs} == {None}


def test_a_camera_that_never_returns(tmp_path: Path, traj: Path) -> None:
    ahead = write_around(tmp_path, "version: 1\nname: ahead\nsteps:\n  - turn: {yaw_deg: 90, frames: 41}\n")
    run = scored(tmp_path, ahead, np.zeros((42, 48, 80, 3), np.uint8))
    assert (run.gain, run.revisit, run.control, run.pairs, run.start_sharpness) == (
        None,
        None,
        None,
        (),
        None,
    )
    assert run.notes == (
        "the camera never returns: no frame comes within 0.15 of an earlier one, 20 frames or more before",
    )


def test_colours_of_small_videos_are_lost(tmp_path: Path, traj: Path, world: np.ndarray) -> None:
    run = scored(tmp_path, traj, world, scale=1)
    assert run.truth is not None
    assert run.truth.revisit_psnr_db is not None
    assert 29 < run.truth.revisit_psnr_db < 34
    assert run.notes == (
        "frames in their own size lose half of their colours' resolution in the MP4: 31 dB are left",
    )


def test_a_gain_is_of_revisits_with_their_controls(tmp_path: Path, traj: Path, world: np.ndarray) -> None:
    """An interrupted run ends before some of the controls that its revisits have in the script."""
    recording = opened(tmp_path / "short", traj, world[:51], status="interrupted")
    short = score_run(recording, Place("sink", "x", 51), PROTOCOL, Metrics())
    assert short.revisit is not None
    assert short.control is not None
    assert short.gain is not None
    assert 0 < short.control.pairs < short.revisit.pairs
    found = scores._compared(recording, PROTOCOL, 51)
    psnrs = {(each.later, each.earlier): each.psnr_db for each in short.pairs if each.kind == "revisit"}
    matched = np.mean([psnrs[pair.later, pair.earlier] for pair, _ in found.couples])
    assert short.gain.psnr_db == pytest.approx(matched - short.control.psnr_db)
    assert short.gain.psnr_db != pytest.approx(short.revisit.psnr_db - short.control.psnr_db, abs=0.01)
    gaps = [abs(pair.gap_frames - control.gap_frames) for pair, control in found.couples]
    assert short.control_gap_off_frames == pytest.approx(np.mean(gaps))
    assert set(found.couples) <= set(scores._compared(recording, PROTOCOL, 63).couples)
    missing, pairs = short.revisit.pairs - short.control.pairs, short.revisit.pairs
    assert short.notes[-1] == (
        f"{missing} of {pairs} revisits have no control in the video: the gain is of the others"
    )


def test_very_long_paths_are_not_searched(
    tmp_path: Path, traj: Path, world: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scores, "MAX_SEARCHED_FRAMES", 62)
    run = scored(tmp_path, traj, world)
    assert (run.gain, run.revisit, run.pairs) == (None, None, ())
    assert run.notes == ("revisits are searched in paths of up to 62 frames, this one is longer",)
