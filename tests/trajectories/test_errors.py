"""Every way in which a trajectory file can be wrong: what is said, where, and the cure."""

from itertools import pairwise
from pathlib import Path

import pytest

import trajectories
from trajectories.errors import TrajectoryError, nearest

HEADER = "expected one of: version, name, description, fps, camera, start, rates, easing, gains, steps"
KEYFRAME = "version: 1\nsteps:\n  - keyframes:\n      poses:\n        - "


def steps(*lines: str) -> str:
    return "\n".join(["version: 1", "steps:", *(f"  - {line}" for line in lines), ""])


def error_of(text: str) -> TrajectoryError:
    with pytest.raises(TrajectoryError) as caught:
        trajectories.parse(text, source="t.yaml")
    return caught.value


# text, problem, where, start of the hint
CASES = {
    "empty": ("", "the file is empty", "t.yaml", "the least it needs"),
    "only a comment": ("# nothing\n", "the file is empty", "t.yaml", ""),
    "a list": ("- 1\n", "expected a mapping of keys, got a list of 1", "t.yaml:1:1", HEADER),
    "a word": ("hello", "expected a mapping of keys, got 'hello'", "t.yaml:1:1", HEADER),
    "tab": ("version: 1\n\tsteps: 3\n", "not valid YAML: ", "t.yaml:2:1", "check the indentation"),
    "control character": ("version: 1\nname: \x07\n", "not valid YAML: ", "t.yaml", "trajectories are plain"),
    "duplicate key": (
        "version: 1\nfps: 8\nversion: 1\n",
        "duplicate key 'version'",
        "t.yaml:3:1",
        "it is already on",
    ),
    "tag": (
        "version: !!python/name:os.system x",
        "tag 'tag:yaml.org,2002:python/name:os.system'",
        "t.yaml:1:10",
        "",
    ),
    "second document": ("version: 1\n---\nversion: 1\n", "a second document starts here", "t.yaml:2:1", ""),
    "complex key": ("? [a]\n: 3\n", "a key must be a single word", "t.yaml:1:3", ""),
    "no value": (steps("turn:"), "'turn' has no value", "t.yaml:3:10 (steps[0].turn)", "write a value"),
    "alias of itself": ("a: &a [*a]\n", "unknown anchor '*a'", "t.yaml:1:8", ""),
    "deep brackets": ("a: " + "[" * 100_000, "nested more than 64 deep", "t.yaml:1:68", ""),
    "no version": ("steps: [{hold: {frames: 1}}]", "missing key 'version'", "t.yaml:1:1", "add `version: 1`"),
    "version 2": (
        "version: 2\nsteps: [{hold: {frames: 1}}]",
        "version must be 1, got 2",
        "t.yaml:1:10 (version)",
        "",
    ),
    "unknown header key": (
        "version: 1\nfpss: 8\nsteps: [{hold: {frames: 1}}]",
        "unknown key 'fpss'",
        "t.yaml:2:1 (fpss)",
        f"did you mean fps? {HEADER}",
    ),
    "unknown step": (
        steps("tunr: {yaw_deg: 3}"),
        "unknown key 'tunr'",
        "t.yaml:3:5 (steps[0].tunr)",
        "did you mean turn?",
    ),
    "no unit": (
        steps("turn: {yaw: 90}"),
        "unknown key 'yaw'",
        "t.yaml:3:12 (steps[0].turn.yaw)",
        "did you mean yaw_deg (angles are in degrees)? expected one of: frames, seconds, yaw_deg, pitch_deg, "
        "deg_per_frame, easing",
    ),
    "wrong unit": (
        steps("turn: {yaw_rad: 1.57}"),
        "unknown key 'yaw_rad'",
        "t.yaml:3:12 (steps[0].turn.yaw_rad)",
        "did you mean yaw_deg (angles are in degrees)?",
    ),
    "length without unit": (
        steps("move: {forward: 1}"),
        "unknown key 'forward'",
        "t.yaml:3:12 (steps[0].move.forward)",
        "did you mean forward_units (lengths are in world units)?",
    ),
    "nan": (
        steps("turn: {yaw_deg: .nan}"),
        "yaw_deg must be a finite number, got nan",
        "t.yaml:3:21 (steps[0].turn.yaw_deg)",
        "Degrees to the right",
    ),
    "infinite": (
        steps("turn: {yaw_deg: -.inf}"),
        "yaw_deg must be a finite number, got -inf",
        "t.yaml:3:21 (steps[0].turn.yaw_deg)",
        "",
    ),
    "overflow": (
        steps("turn: {yaw_deg: 1e999}"),
        "yaw_deg must be a finite number, got inf",
        "t.yaml:3:21",
        "",
    ),
    "text for a number": (
        steps("turn: {yaw_deg: far}"),
        "yaw_deg must be a number, got 'far'",
        "t.yaml:3:21",
        "",
    ),
    "number for a mapping": (
        steps("turn: 90"),
        "turn must be a mapping of keys, got 90",
        "t.yaml:3:11 (steps[0].turn)",
        "expected one of: frames",
    ),
    "negative frames": (
        steps("hold: {frames: -3}"),
        "frames must be at least 1, got -3",
        "t.yaml:3:20 (steps[0].hold.frames)",
        "",
    ),
    "half a frame": (
        steps("hold: {frames: 2.5}"),
        "frames must be a whole number, got 2.5",
        "t.yaml:3:20",
        "",
    ),
    "yes for frames": (
        steps("hold: {frames: true}"),
        "frames must be a whole number, got true",
        "t.yaml:3:20",
        "",
    ),
    "negative seconds": (
        steps("hold: {seconds: -1}"),
        "seconds must be greater than 0, got -1",
        "t.yaml:3:21",
        "",
    ),
    "easing": (
        steps("turn: {yaw_deg: 9, easing: smoth}"),
        "easing must be 'linear' or 'smooth'",
        "t.yaml:3:32",
        "did you mean smooth?",
    ),
    "two motions": (
        steps("turn: {yaw_deg: 9}\n    hold: {frames: 1}"),
        "a step holds exactly one motion, got turn and hold",
        "t.yaml:3:5 (steps[0])",
        "",
    ),
    "two durations": (
        steps("hold: {frames: 3, seconds: 1}"),
        "frames and seconds exclude each other",
        "t.yaml:3:11",
        "",
    ),
    "nothing to turn": (steps("turn: {frames: 3}"), "turn needs yaw_deg or pitch_deg", "t.yaml:3:11", ""),
    "position of two": (
        "version: 1\nstart: {position_units: [1, 2]}\nsteps: []",
        "position_units must have at least 3",
        "t.yaml:2:25",
        "",
    ),
    "fov": (
        "version: 1\ncamera: {fov_deg: 200}\nsteps: [{hold: {frames: 1}}]",
        "fov_deg must be at most 175",
        "t.yaml:2:19",
        "",
    ),
    "opposite keys": (
        steps("press: {keys: WS, frames: 3}"),
        "keys W and S cancel each other",
        "t.yaml:3:12",
        "",
    ),
    "unknown pressed key": (
        steps("press: {keys: WX, frames: 3}"),
        "keys[1] must be 'W', 'S', 'A' or 'D', got 'X'",
        "t.yaml:3:19",
        "",
    ),
    "no steps": (
        "version: 1\nsteps: []",
        "steps must have at least 1 entry, got 0",
        "t.yaml:2:8 (steps)",
        "",
    ),
    "no motion": (
        steps("mark: a"),
        "the trajectory has no motion",
        "t.yaml:3:3 (steps)",
        "add a step that takes time",
    ),
    "unknown mark": (
        steps("mark: home", "hold: {frames: 2}", "return_to: {mark: hone}"),
        "unknown mark 'hone'",
        "t.yaml:5:23 (steps[2].return_to.mark)",
        "did you mean home? marks so far: home",
    ),
    "mark that comes later": (
        steps("hold: {frames: 2}", "return_to: home", "mark: home"),
        "unknown mark 'home'",
        "t.yaml:4:16 (steps[1].return_to)",
        "no mark is set before this step",
    ),
    "duplicate mark": (
        steps("mark: home", "hold: {frames: 2}", "mark: home"),
        "duplicate mark 'home'",
        "t.yaml:5:11 (steps[2].mark)",
        "it is already set on line 3",
    ),
    "mark name": (steps("mark: 2nd"), "'2nd' cannot name a mark", "t.yaml:3:11 (steps[0].mark)", ""),
    "scaled c2w": (
        KEYFRAME + "{at_frames: 5, c2w: [[1, 0, 0, 0], [0, 2, 0, 0], [0, 0, 1, 0]]}",
        "c2w does not hold a rotation: its columns are off by 3",
        "t.yaml:5:31 (steps[0].keyframes.poses[0].c2w)",
        "R^T R must be the identity",
    ),
    "mirrored c2w": (
        KEYFRAME + "{at_frames: 5, c2w: [[-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]}",
        "c2w does not hold a rotation",
        "t.yaml:5:31",
        "",
    ),
    "c2w last row": (
        KEYFRAME + "{at_frames: 5, c2w: [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]}",
        "the last row of c2w must be [0, 0, 0, 1]",
        "t.yaml:5:",
        "",
    ),
    "quaternion": (
        KEYFRAME + "{at_frames: 5, quaternion_wxyz: [1, 1, 0, 0]}",
        "quaternion_wxyz is not a rotation: its length is 1.414, not 1",
        "t.yaml:5:43 (steps[0].keyframes.poses[0].quaternion_wxyz)",
        "order w, x, y, z",
    ),
    "times go back": (
        KEYFRAME + "{at_frames: 5, yaw_deg: 3}\n        - {at_frames: 5, yaw_deg: 4}",
        "pose 2 is reached at frame 5, not after frame 5",
        "t.yaml:6:23 (steps[0].keyframes.poses[1].at_frames)",
        "times must increase",
    ),
    "ambiguous half turn": (
        KEYFRAME + "{at_frames: 5, yaw_deg: 180}",
        "the camera turns by half a turn",
        "t.yaml:5:11",
        "",
    ),
    "tips over": (
        steps("turn: {pitch_deg: 60}", "turn: {pitch_deg: 60}"),
        "the camera would tip over: pitch reaches 120 degrees",
        "t.yaml:4:11 (steps[1].turn)",
        "keep pitch within -90..90; it is 60 before this step",
    ),
    "orbit looks away": (
        steps("orbit: {centre_units: [1, 0, 1], angle_deg: 90}"),
        "the camera does not look at the centre of the orbit",
        "t.yaml:3:27 (steps[0].orbit.centre_units)",
        "turn first: `turn: {yaw_deg: 45, pitch_deg: 0}`",
    ),
    "retrace with frames": (
        steps("mark: a", "hold: {frames: 3}", "return_to: {mark: a, path: retrace, frames: 4}"),
        "retrace takes no frames",
        "t.yaml:5:16",
        "",
    ),
    "macro letter": (
        steps("macro: RXL90"),
        "not a motion string: 'X' at character 2 in 'RXL90'",
        "t.yaml:3:12",
        "letters R L W",
    ),
    "macro angle": (
        steps("macro: RL45"),
        "45 degrees are not a number of 2-degree frames",
        "t.yaml:3:12",
        "use 44 or 46",
    ),
    "macro direction": (
        steps("macro: 'w-3, rigth-2'"),
        "unknown direction 'rigth'",
        "t.yaml:3:12",
        "did you mean right?",
    ),
    "macro option": (
        steps("macro: {text: w-3, hold_frames: 3}"),
        "hold_frames has no meaning for pairs",
        "t.yaml:3:37",
        "",
    ),
    "huge hold": (
        steps(f"hold: {{frames: {10**29}}}"),
        "this makes at least 1000",
        "t.yaml:3:11 (steps[0].hold)",
        "",
    ),
    "huge macro": (
        steps("macro: w-999999"),
        "this makes at least 3999996 frames",
        "t.yaml:3:12",
        "repeat less often",
    ),
    "repeat bomb": (
        steps("repeat: {times: 40000, steps: [{turn: {yaw_deg: 360}}]}"),
        "this makes at least 2880000 frames, more than the 200000 that a trajectory may have",
        "t.yaml:3:21 (steps[0].repeat.times)",
        "repeat less often, or move faster",
    ),
    "repeat bomb without frames": (
        steps("repeat: {times: 1000000000, steps: [{mark: a}]}"),
        "this repeats to 1000000000 steps, more than the 100000",
        "t.yaml:3:21",
        "",
    ),
    "doubling retrace": (
        steps(
            "mark: a",
            "hold: {frames: 1}",
            "repeat: {times: 64, steps: [{return_to: {mark: a, path: retrace}}]}",
        ),
        "this makes at least 262145 frames",
        "t.yaml:5:",
        "",
    ),
    "deep repeat": (
        steps("repeat: {times: 1, steps: [{" * 9 + "hold: {frames: 1}" + "}]}" * 9),
        "repeat is nested more than 8 deep",
        "t.yaml:3:",
        "",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_error_says_what_where_and_how_to_mend_it(case: str) -> None:
    text, problem, where, hint = CASES[case]
    error = error_of(text)
    assert error.problem.startswith(problem)
    assert error.where.startswith(where)
    assert error.hint.startswith(hint)
    assert error.exit_code == 2


def test_alias_bomb_is_refused_before_it_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trajectories.document.MAX_NODES", 5000)
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]" for before, name in pairwise("abcdefghijklm")
    ]
    error = error_of("\n".join(lines))
    assert error.problem == "more than 5000 values or 64 levels, with aliases written out"
    assert error.where.startswith("t.yaml:")


def test_all_errors_of_a_file_are_found_in_order_of_lines() -> None:
    error = error_of(steps("turn: {yaw: 3}", "hold: {frames: -1}", "hold: {frames: 1, secs: 2}"))
    found = [(each.problem, each.where) for each in (error, *error.also)]
    assert found == [
        ("unknown key 'yaw'", "t.yaml:3:12 (steps[0].turn.yaw)"),
        ("frames must be at least 1, got -1", "t.yaml:4:20 (steps[1].hold.frames)"),
        ("unknown key 'secs'", "t.yaml:5:23 (steps[2].hold.secs)"),
    ]


def test_misspelt_required_key_is_one_error() -> None:
    error = error_of("version: 1\nstep: [{hold: {frames: 1}}]")
    assert (error.problem, error.also) == ("unknown key 'step'", ())


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00", "not text: byte 0 is not UTF-8"),
        (b"version: 1\x00", "not text: byte 10 is zero"),
        (b"#" * ((1 << 20) + 1), "the file is larger than the 1 MiB that a trajectory may have"),
    ],
    ids=["binary", "zero byte", "huge"],
)
def test_file_that_is_not_a_trajectory(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "t.yaml"
    path.write_bytes(content)
    with pytest.raises(trajectories.SourceError) as caught:
        trajectories.load(path)
    assert caught.value.problem == problem
    assert caught.value.where == str(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(trajectories.SourceError, match="no such trajectory file"):
        trajectories.load("./nowhere.yaml")
    with pytest.raises(trajectories.SourceError, match="this is a folder"):
        trajectories.load(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(trajectories.SourceError, match="cannot read the trajectory file: Not a directory"):
        trajectories.load(tmp_path / "file" / "t.yaml")


def test_unknown_library_name_suggests_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(trajectories.SourceError) as caught:
        trajectories.load("lopp")
    assert caught.value.hint.startswith("did you mean loop? the library has: ")
    monkeypatch.chdir(tmp_path)
    Path("mine").touch()
    with pytest.raises(trajectories.SourceError) as caught:
        trajectories.load("mine")
    assert caught.value.hint.startswith("to load the file, write ./mine; ")


@pytest.mark.parametrize(
    ("word", "meant"),
    [("yaw", "yaw_deg"), ("yaw_rad", "yaw_deg"), ("Pitch", "pitch_deg"), ("framse", "frames"), ("zzz", None)],
)
def test_nearest_prefers_the_same_stem(word: str, meant: str | None) -> None:
    assert nearest(word, ["yaw_deg", "pitch_deg", "frames"]) == meant
