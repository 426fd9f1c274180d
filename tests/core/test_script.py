"""What a rollout will show, for a model whose first chunk is shorter, as those with a temporal VAE."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.config import GenerateConfig
from core.errors import InputError
from core.models.registry import ModelEntry
from core.script import Script, load_script
from core.video.ffmpeg import ffmpeg_exe
from trajectories import load

WAN = ModelEntry(name="wan", description="", package="")


def turn(path: Path, num_frames: int, *, yaw_deg: float = 40.0) -> str:
    """A trajectory file of a turn."""
    path.write_text(f"version: 1\nsteps:\n  - turn: {{yaw_deg: {yaw_deg}, frames: {num_frames - 1}}}\n")
    return str(path)


def grey(path: Path, num_frames: int) -> Path:
    """A video."""
    command = [ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", "color=gray:size=80x48:rate=16"]
    subprocess.run([*command, "-frames:v", str(num_frames), str(path)], check=True)
    return path


def script_of(**settings: Any) -> Script:
    return load_script(GenerateConfig(**settings), WAN)


def test_first_chunk_is_shorter(tmp_path: Path) -> None:
    script = script_of(traj=turn(tmp_path / "t.yaml", 40))
    assert (script.trajectory.num_frames, script.given_frames) == (33, 0)
    assert script.notes == (
        "the last 7 of 40 video frames do not fill a chunk and are left out "
        "(--fit pad holds the last pose instead)",
    )
    padded = script_of(traj=turn(tmp_path / "t.yaml", 40), fit="pad")
    assert padded.trajectory.num_frames == 45
    assert padded.notes == ("the last pose is held for 5 more video frames, 45 in all",)
    assert script_of(traj=turn(tmp_path / "t.yaml", 33)).notes == ()


def test_script_goes_on_from_the_clips_last_camera(tmp_path: Path) -> None:
    clip = turn(tmp_path / "clip.yaml", 25)
    script = script_of(
        traj=turn(tmp_path / "t.yaml", 30, yaw_deg=-40.0),
        prefix=grey(tmp_path / "clip.mp4", 25),
        prefix_traj=clip,
    )
    # The clip fills 21 frames; the script's 30, its first being the clip's last, make 50; 45 fill chunks.
    assert (script.given_frames, script.trajectory.num_frames) == (21, 45)
    assert [note.partition(" video")[0] for note in script.notes] == [
        "the last 4 of the prefix's 25 cameras do not fill a chunk and are left out",
        "the last 5 of 50",
    ]
    given = load(clip).c2w
    np.testing.assert_allclose(script.trajectory.c2w[:21], given[:21])
    step = np.linalg.inv(script.trajectory.c2w[20]) @ script.trajectory.c2w[21]
    own = load(str(tmp_path / "t.yaml")).c2w
    np.testing.assert_allclose(step, np.linalg.inv(own[0]) @ own[1], atol=1e-12)


def test_clip_shorter_than_its_path(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the prefix video has 8 frames, its camera path 9"):
        script_of(traj="loop", prefix=grey(tmp_path / "c.mp4", 8), prefix_traj=turn(tmp_path / "c.yaml", 9))


def test_path_need_not_fill_the_last_chunk_of_an_earlier_run(tmp_path: Path) -> None:
    """An earlier run cut its trajectory; the same file still names the path of its video."""
    path, video = turn(tmp_path / "c.yaml", 24), grey(tmp_path / "c.mp4", 21)
    script = script_of(traj="loop", prefix=video, prefix_traj=path)
    assert script.given_frames == 21


def test_scripts_of_one_frame_cannot_follow(tmp_path: Path) -> None:
    path, video = turn(tmp_path / "c.yaml", 9), grey(tmp_path / "c.mp4", 9)
    with pytest.raises(InputError, match="nothing is left to generate: 10 frames"):
        script_of(traj=turn(tmp_path / "t.yaml", 10), prefix=video, prefix_traj=path)
    padded = script_of(traj=turn(tmp_path / "t.yaml", 10), prefix=video, prefix_traj=path, fit="pad")
    assert padded.trajectory.num_frames == 21
