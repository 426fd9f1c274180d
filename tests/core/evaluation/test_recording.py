"""Which folders can be evaluated, and what is told of the others."""

import json
from pathlib import Path

import numpy as np
import pytest

from core.errors import InputError
from core.evaluation.footage import read_footage, shrink
from core.evaluation.recording import open_recording
from core.fidelity.pictures import psnr
from core.generate import enlarge
from tests.core.evaluation.runs import AROUND, true_frames, write_around, write_run_folder
from tests.core.fidelity.scenes import noise

FRAMES = np.full((63, 48, 80, 3), 90, np.uint8)


@pytest.fixture
def traj(tmp_path: Path) -> Path:
    return write_around(tmp_path)


def test_a_finished_run(tmp_path: Path, traj: Path) -> None:
    recording = open_recording(write_run_folder(tmp_path / "run", traj, FRAMES))
    assert (recording.num_frames, recording.given_frames, recording.enlargement) == (63, 0, 2)
    assert len(recording.c2w) == 63
    assert recording.notes == ()


@pytest.mark.parametrize(
    ("status", "video", "why"),
    [
        ("interrupted", "video.mp4", "it was interrupted"),
        ("running", "video.partial.mp4", "it was killed, or is still running"),
        ("failed", "video.mp4", "it failed"),
    ],
)
def test_shorter_videos_are_valid(tmp_path: Path, traj: Path, status: str, video: str, why: str) -> None:
    run = write_run_folder(tmp_path / "run", traj, FRAMES[:30], status=status, video=video)
    recording = open_recording(run)
    assert recording.num_frames == 30
    assert recording.notes == (f"30 of 63 frames are there: {why}",)


def test_a_failed_run_without_a_video(tmp_path: Path, traj: Path) -> None:
    run = write_run_folder(tmp_path / "run", traj, FRAMES[:0], status="failed", failure="the disk is full")
    with pytest.raises(InputError, match="the run failed and left no video: the disk is full") as told:
        open_recording(run)
    assert told.value.exit_code == 2
    assert told.value.where == str(run)


def test_folders_that_are_no_runs(tmp_path: Path, traj: Path) -> None:
    with pytest.raises(InputError, match="there is no such run folder"):
        open_recording(tmp_path / "nowhere")
    with pytest.raises(InputError, match="this is a file"):
        open_recording(traj)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"there is no run\.json in this folder"):
        open_recording(tmp_path / "empty")
    write_run_folder(tmp_path / "many" / "one", traj, FRAMES[:0])
    with pytest.raises(InputError, match="this folder holds 1 runs and is none itself") as told:
        open_recording(tmp_path / "many")
    assert told.value.hint == f"name one of them: {tmp_path / 'many' / 'one'}"
    (tmp_path / "many" / "batch.jsonl").touch()
    with pytest.raises(InputError, match="this is the folder of a batch, not of a run"):
        open_recording(tmp_path / "many")


def test_a_trajectory_that_is_gone_or_another(tmp_path: Path, traj: Path) -> None:
    run = write_run_folder(tmp_path / "run", traj, FRAMES)
    traj.write_text(AROUND.replace("180", "120"))
    with pytest.raises(InputError) as changed:
        open_recording(run)
    assert changed.value.problem == f"the trajectory {traj} is not the one that {run} was made with"
    traj.unlink()
    with pytest.raises(InputError) as gone:
        open_recording(run)
    assert str(run) in gone.value.problem
    assert str(traj) in gone.value.where
    assert "where the run was made" in gone.value.hint


def test_settings_of_another_version(tmp_path: Path, traj: Path) -> None:
    run = write_run_folder(tmp_path / "run", traj, FRAMES)
    log = json.loads((run / "run.json").read_text())
    log["config"]["dreams"] = True
    (run / "run.json").write_text(json.dumps(log))
    with pytest.raises(InputError, match="a setting of the run is not known here: dreams"):
        open_recording(run)


def test_a_video_that_is_longer_than_its_path(tmp_path: Path, traj: Path) -> None:
    run = write_run_folder(tmp_path / "run", traj, np.concatenate([FRAMES, FRAMES[:3]]))
    with pytest.raises(InputError, match="the video has 66 frames, its trajectory 63"):
        open_recording(run)


def test_a_video_that_breaks_off(tmp_path: Path, traj: Path) -> None:
    recording = open_recording(write_run_folder(tmp_path / "run", traj, FRAMES))
    data = recording.video.path.read_bytes()
    recording.video.path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(InputError, match="the video breaks off after"):
        read_footage(recording, [0], 63)


def test_footage_keeps_what_is_wanted_in_the_models_own_size(tmp_path: Path, traj: Path) -> None:
    frames = true_frames(traj)
    recording = open_recording(write_run_folder(tmp_path / "run", traj, frames))
    footage = read_footage(recording, [0, 31, 62], 40)
    assert sorted(footage.frames) == [0, 31]
    assert footage.num_frames == 40
    assert footage.frames[31].shape == (48, 80, 3)
    assert psnr(footage.frames[31], frames[31]) > 35
    moved = np.abs(np.diff(frames[:40].astype(int), axis=0)).mean()
    assert footage.motion == pytest.approx(moved, rel=0.05)


@pytest.mark.parametrize("factor", [1, 2, 8])
def test_shrinking_undoes_enlarging(factor: int) -> None:
    frame = noise(0, 24, 40) // 2 + 64  # no overshoot that would be clipped
    assert np.abs(shrink(enlarge(frame[None], factor)[0], factor).astype(int) - frame).max() <= 1
    with pytest.raises(InputError, match="are no enlargement by 7"):
        shrink(frame, 7)
