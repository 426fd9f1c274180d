"""Good input: every variant, along cameras and along keys, becomes a video and its log."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.fidelity.pictures import psnr
from core.models.matrix_game.config import find_variant
from core.models.matrix_game.pictures import cropped
from core.runlog import hash_file, run_json_schema
from core.video.reader import read_video, video_info
from tests.core.models.matrix_game.sessions import VARIANTS
from tests.worldkv_cli.generate.matrix_game.runs import arguments, generate, prepared, warnings
from tests.worldkv_cli.generate.runs import log_of, spawn_and_wait

RUNNER = (
    "templerun has no camera track: memory goes by accumulated turns and side steps, a pseudo-motion, "
    "not by places"
)
PARKED = "a car at rest does not turn, so where it looks is a guess"
NOTES = {
    ("universal", "away"): (),
    ("universal", "keys"): (),
    ("gta_drive", "away"): (f"44 of 44 frames steer with neither W nor S within 12 frames: {PARKED}",),
    ("gta_drive", "keys"): (
        "16 of 32 frames strafe (A, D), which gta_drive cannot: strafes are left out",
        f"5 of 32 frames steer with neither W nor S within 12 frames: {PARKED}",
        "keys and mouse lead up to 0.799 units (frame 16) and 0.0 degrees "
        "away from the trajectory's cameras, "
        "as keys have one speed and do not climb: memory goes by keys and mouse",
    ),
    ("templerun", "away"): (RUNNER,),
    ("templerun", "keys"): (
        "8 of 32 frames walk back (S), which templerun cannot: they are left out",
        "16 of 32 frames ask templerun for several actions at once: only the first is taken",
        RUNNER,
    ),
}
"""What each variant cannot do of a trajectory."""


@pytest.mark.slow
@pytest.mark.parametrize("traj", ["away", "keys"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant(models: Path, variant: str, traj: str) -> None:
    frames = [9, 12, 12, 12] if traj == "away" else [9, 12, 12]
    told = generate(models, variant=variant, traj=f"{traj}.yaml")
    assert told.exit_code == 0, told.stderr
    assert told.stderr == warnings(*NOTES[variant, traj])
    assert told.stdout.startswith(f"run/video.mp4\n  {sum(frames)} frames, 96x64, ")
    info, log = video_info(Path("run/video.mp4")), log_of(Path("run"))
    assert (info.num_frames, info.width, info.height, info.codec) == (sum(frames), 96, 64, "h264")
    assert [chunk.num_frames for chunk in log.chunks] == frames
    assert (log.status, log.totals.frames, log.dtype) == ("done", sum(frames), "float32")
    kept = json.loads(Path("run/run.json").read_text())
    assert set(kept) == set(run_json_schema()["properties"])
    records = [json.loads(line) for line in Path("run/chunks.jsonl").read_text().splitlines()]
    assert records == kept["chunks"]
    told_of = {key: log.plan[key] for key in ("variant", "deg_per_mouse_unit", "positions", "strategy")}
    assert told_of == {
        "variant": variant,
        "deg_per_mouse_unit": 15.0,
        "positions": "slot",
        "strategy": "pose",
    }
    assert log.plan["checkpoint"] == str(models / find_variant(variant).file)
    assert [len(chunk.retrieved) for chunk in log.chunks] == [0, 0, 0, 1][: len(frames)]
    assert max(chunk.device_bytes for chunk in log.chunks) <= log.plan["predicted_device_bytes"]
    assert (log.inputs["image"].path, log.trajectory_sha256) == (
        "first.png",
        hash_file(Path(f"{traj}.yaml")).sha256,
    )


@pytest.mark.slow
def test_as_a_user_types_it(models: Path) -> None:
    """The default variant, in a process of its own, with what is in the library."""
    Path("short.yaml").write_text("version: 1\nsteps: [{turn: {yaw_deg: 8, frames: 8}}]\n")
    told = spawn_and_wait(*arguments(models, traj="short.yaml", vram_budget="20GiB"))
    assert told.exit_code == 0, told.stderr
    assert re.fullmatch(r"run/video\.mp4\n  9 frames, 96x64, \d+\.\d s\n", told.stdout)
    assert [line.split()[1] for line in told.stderr.splitlines()] == ["1/1"]
    assert log_of(Path("run")).plan["variant"] == "universal"


def test_fast_turns_of_the_library_are_told(models: Path) -> None:
    job = prepared(models, traj="loop")
    assert job.num_chunks == 12
    assert job.notes == (
        "92 of 140 frames turn by up to 0.333 mouse units (5 degrees), faster than the model's demo with 0.1 "
        "(1.5 degrees): it may turn less than that (rates: {turn_deg_per_frame: 1.5} keeps to it)",
    )


class TestCalibration:
    def test_a_mouse_unit(self, models: Path) -> None:
        """Keys stay what they are to the model; what they are taken to do scales the viewpoints."""
        usual = prepared(models, traj="keys.yaml").session
        slow = prepared(models, traj="keys.yaml", mouse_deg=7.5).session
        assert (usual.logged["deg_per_mouse_unit"], slow.logged["deg_per_mouse_unit"]) == (15.0, 7.5)
        assert slow._tracks.mouse.max() == pytest.approx(2 * usual._tracks.mouse.max())
        np.testing.assert_allclose(slow.viewpoints.c2w, usual.viewpoints.c2w, atol=1e-6)

    def test_a_key(self, models: Path) -> None:
        usual = prepared(models, traj="keys.yaml").session
        job = prepared(models, traj="keys.yaml", key_units=0.3)
        assert job.session.logged["units_per_key_frame"] == 0.3
        assert job.notes[-1] == (
            "a key moves the model 0.3 units a frame, and 0.1 in the trajectory: viewpoints are scaled by "
            "their ratio"
        )
        ours, theirs = (session.viewpoints.c2w[:, :3, 3] for session in (job.session, usual))
        np.testing.assert_allclose(ours, 3 * theirs, atol=1e-9)
        assert np.ptp(theirs) > 0.5

    def test_field_of_view(self, models: Path) -> None:
        """What the model is taken to see, which overlap and rays go by."""
        usual, narrow = (prepared(models, fov_deg=fov).session for fov in (None, 60))
        assert (usual.logged["fov_deg"], narrow.logged["fov_deg"]) == (90.0, 60.0)
        focal_px = [session.viewpoints.intrinsics[0, 0] for session in (usual, narrow)]
        assert focal_px == pytest.approx([48, 48 * 3**0.5])

    def test_is_logged(self, models: Path) -> None:
        Path("short.yaml").write_text("version: 1\nsteps: [{hold: {frames: 8}}]\n")
        told = generate(models, variant="templerun", traj="short.yaml", mouse_deg=12, key_units=0.2)
        assert told.exit_code == 0, told.stderr
        plan = log_of(Path("run")).plan
        kept = ("deg_per_mouse_unit", "units_per_key_frame", "threshold_deg", "turn_mouse_units")
        assert [plan[key] for key in kept] == [12.0, 0.2, 0.75, 0.1]


class TestPictures:
    @pytest.mark.parametrize(
        ("shape", "kept"),
        [((96, 64), None), ((72, 128), (72, 48)), ((160, 64), (96, 64)), ((3, 200), (3, 2))],
    )
    def test_any_shape(self, models: Path, shape: tuple[int, int], kept: tuple[int, int] | None) -> None:
        Image.new("RGB", shape, (90, 20, 10)).save("first.png")
        job = prepared(models)
        told = (
            f"of the picture of {shape[0]}x{shape[1]} only the middle {kept[0]}x{kept[1]} is used, which has "
            "the shape of 96x64"
            if kept
            else None
        )
        assert job.notes == ((told,) if told else ())
        assert job.session._frames(0, 1).shape == (1, 3, 1, 64, 96)

    def test_the_usual_size(self, models: Path) -> None:
        job = prepared(models, size=None)
        assert job.session.frame_size == (640, 352)
        assert job.session.viewpoints.grid == (22, 40)


class TestClip:
    @pytest.mark.slow
    def test_comes_first(self, models: Path) -> None:
        Path("path.yaml").write_text("version: 1\nsteps: [{turn: {yaw_deg: 20, frames: 20}}]\n")
        Path("on.yaml").write_text("version: 1\nsteps: [{turn: {yaw_deg: -12, frames: 12}}]\n")
        told = generate(models, image=None, prefix="clip.mp4", prefix_traj="path.yaml", traj="on.yaml")
        assert (told.exit_code, told.stderr) == (0, "")
        log = log_of(Path("run"))
        shown = [(chunk.given, chunk.num_frames) for chunk in log.chunks]
        assert shown == [(True, 9), (True, 12), (False, 12)]
        assert log.inputs["prefix"].sha256 == hash_file(Path("clip.mp4")).sha256
        assert log.inputs["prefix_traj"].path == "path.yaml"

    def test_is_cropped_like_a_picture(self, models: Path) -> None:
        Path("path.yaml").write_text("version: 1\nsteps: [{hold: {frames: 20}}]\n")
        job = prepared(
            models, image=None, prefix="clip.mp4", prefix_traj="path.yaml", traj="away.yaml", size="64x64"
        )
        assert job.notes[-1] == (
            "of the picture of 96x64 only the middle 64x64 is used, which has the shape of 64x64"
        )
        middle = cropped(read_video(Path("clip.mp4"))[:, :, 16:80], (64, 64))
        assert (job.session._frames(0, 21)[0].transpose(0, 1) == middle).all()


@pytest.mark.slow
def test_actions_and_seeds_steer_the_video(models: Path) -> None:
    Path("still.yaml").write_text("version: 1\nsteps: [{hold: {frames: 8}}]\n")
    Path("ahead.yaml").write_text("version: 1\nsteps: [{press: {keys: W, frames: 8}}]\n")
    flags = {
        "a": {"traj": "still.yaml"},
        "seed": {"traj": "still.yaml", "seed": 1},
        "keys": {"traj": "ahead.yaml"},
    }
    videos = {}
    for out, each in flags.items():
        assert generate(models, out=out, **each).exit_code == 0
        videos[out] = read_video(Path(out) / "video.mp4")
    for other in ("seed", "keys"):
        assert np.mean([psnr(a, b) for a, b in zip(videos["a"], videos[other], strict=True)]) < 40
