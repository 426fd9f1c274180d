"""`worldkv traj`: results on stdout, errors on stderr, exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from worldkv_cli.commands.traj import app


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def write(folder: Path, text: str) -> None:
    (folder / "t.yaml").write_text(text, encoding="utf-8")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_list_names_the_library() -> None:
    result = run("list")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout.splitlines()[0].split() == ["NAME", "FRAMES", "SECONDS", "REVISITS", "DESCRIPTION"]
    assert any(line.split()[:2] == ["loop", "141"] for line in result.stdout.splitlines())


def test_list_as_json() -> None:
    listed = json.loads(run("list", "--json").stdout)["trajectories"]
    assert {"loop", "long-patrol"} <= {entry["name"] for entry in listed}


def test_show_prints_a_summary(folder: Path) -> None:
    write(folder, "version: 1\nsteps: [{turn: {yaw_deg: 90}}, {mark: right}, {turn: {yaw_deg: -90}}]\n")
    result = run("show", "t.yaml")
    assert result.exit_code == 0
    assert result.stdout == (
        "t\n"
        "\n"
        "  frames    37  (2.31 s at 16 fps)\n"
        "  path      0.00 units  (box 0.00 x 0.00 x 0.00)\n"
        "  speed     does not move\n"
        "  turn      5 to 5 degrees per frame, 180 in all\n"
        "  actions   keys and mouse follow the camera within 0.000 units\n"
        "  marks     right 18\n"
        "  revisits  6 frames see an earlier view again, gaps of 30 to 36\n"
        "\n"
        "  FRAMES  SEEN BEFORE AT  GAP\n"
        "  31..36  1..0            30 to 36\n"
    )


def test_show_as_json_with_a_plot(folder: Path) -> None:
    result = run("show", "loop", "--plot", "loop.svg", "--json")
    shown = json.loads(result.stdout)
    assert (shown["name"], shown["num_frames"], shown["plot"]) == ("loop", 141, "loop.svg")
    assert shown["revisits"][0]["min_gap_frames"] == 30
    assert (folder / "loop.svg").read_text(encoding="utf-8").startswith("<svg ")


def test_show_says_on_stderr_where_the_plot_is(folder: Path) -> None:
    result = run("show", "look-around", "--plot", "plot.png")
    assert result.stderr == "plot written to plot.png\n"
    assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG")


LIBRARY = (
    "corridor-and-return, figure-eight, key-presses, long-patrol, look-around, loop, macro-demo, orbit, "
    "out-and-back"
)
HEADER_KEYS = "version, name, description, fps, camera, start, rates, easing, gains, steps"


@pytest.mark.parametrize(
    ("text", "stderr"),
    [
        (
            "version: 1\nsteps:\n  - turn: {yaw: 90}\n",
            "error: unknown key 'yaw'\n"
            "  at: t.yaml:3:12 (steps[0].turn.yaw)\n"
            "hint: did you mean yaw_deg (angles are in degrees)? expected one of: frames, seconds, yaw_deg, "
            "pitch_deg, deg_per_frame, easing\n",
        ),
        (
            "version: 1\nsteps:\n  - hold: {frames: -3}\n",
            "error: frames must be at least 1, got -3\n"
            "  at: t.yaml:3:20 (steps[0].hold.frames)\n"
            "hint: Video frames\n",
        ),
        (
            "version: 1\nsteps:\n  - turn:\n      yaw_deg: .nan\n",
            "error: yaw_deg must be a finite number, got nan\n"
            "  at: t.yaml:4:16 (steps[0].turn.yaw_deg)\n"
            "hint: Degrees to the right; negative turns left\n",
        ),
        (
            "version: 1\nsteps:\n  - repeat: {times: 1000000, steps: [{hold: {frames: 12}}]}\n",
            "error: this repeats to 1000000 steps, more than the 100000 that a trajectory may have\n"
            "  at: t.yaml:3:21 (steps[0].repeat.times)\n"
            "hint: repeat less often\n",
        ),
        (
            "version: 1\nsteps:\n  - mark: home\n",
            "error: the trajectory has no motion: it makes no frame after the start\n"
            "  at: t.yaml:3:3 (steps)\n"
            "hint: add a step that takes time, such as `hold: {frames: 12}`\n",
        ),
        (
            "version: 1\nversion: 1\n",
            "error: duplicate key 'version'\n"
            "  at: t.yaml:2:1\n"
            "hint: it is already on line 1; keep one of them\n",
        ),
        (
            "",
            "error: the file is empty\n"
            "  at: t.yaml\n"
            "hint: the least it needs: `version: 1` and `steps: [{turn: {yaw_deg: 90}}]`\n",
        ),
        (
            "version: 1\nfpss: 3\nsteps:\n  - hold: {frames: 1.5}\n",
            "error: unknown key 'fpss'\n"
            "  at: t.yaml:2:1 (fpss)\n"
            f"hint: did you mean fps? expected one of: {HEADER_KEYS}\n"
            "error: frames must be a whole number, got 1.5\n"
            "  at: t.yaml:4:20 (steps[0].hold.frames)\n"
            "hint: Video frames\n",
        ),
    ],
    ids=["unit", "negative", "nan", "bomb", "zero length", "duplicate", "empty", "two errors"],
)
def test_show_prints_exact_errors_and_exits_with_2(folder: Path, text: str, stderr: str) -> None:
    write(folder, text)
    result = run("show", "t.yaml")
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", stderr)


def test_unknown_name() -> None:
    result = run("show", "lopp")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: no trajectory named 'lopp' in the library\n"
        "  at: lopp\n"
        f"hint: did you mean loop? the library has: {LIBRARY}\n"
    )


def test_missing_and_binary_file(folder: Path) -> None:
    (folder / "b.yaml").write_bytes(b"\xff\xfe\x00")
    assert run("show", "./none.yaml").stderr.startswith(
        "error: no such trajectory file\n  at: ./none.yaml\nhint: "
    )
    assert run("show", "b.yaml").stderr == (
        "error: not text: byte 0 is not UTF-8\n"
        "  at: b.yaml\n"
        "hint: a trajectory is a YAML text file in UTF-8\n"
    )


@pytest.mark.parametrize(
    ("plot", "problem"),
    [
        ("plot.jpg", "a plot is an SVG or PNG file, got .jpg"),
        ("none/plot.svg", "cannot write the plot: No such file or directory"),
    ],
)
def test_plot_that_cannot_be_written(plot: str, problem: str) -> None:
    result = run("show", "loop", "--plot", plot)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {problem}\n  at: {plot}\n")


def test_check_reports_every_file(folder: Path) -> None:
    write(folder, "version: 1\nsteps:\n  - turn: {yaw: 90}\n  - hold: {frames: 0}\n")
    result = run("check", "loop", "t.yaml", "none.yaml")
    assert result.exit_code == 2
    assert result.stdout == "loop: ok, 141 frames\n"
    lines = result.stderr.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == [
        "error: unknown key 'yaw'",
        "error: frames must be at least 1, got 0",
        "error: no such trajectory file",
    ]
    assert lines[-1] == "2 of 3 trajectories have errors"


def test_check_of_good_files_exits_with_0() -> None:
    result = run("check", "loop", "orbit")
    assert (result.exit_code, result.stderr) == (0, "")


def test_check_as_json(folder: Path) -> None:
    write(folder, "version: 1\nsteps: []\n")
    result = run("check", "--json", "loop", "t.yaml")
    report = json.loads(result.stdout)
    assert (result.exit_code, report["ok"]) == (2, False)
    assert [entry["ok"] for entry in report["files"]] == [True, False]
    assert report["files"][1]["errors"][0]["where"] == "t.yaml:2:8 (steps)"


def test_schema_is_json_schema() -> None:
    schema = json.loads(run("schema").stdout)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert {"version", "steps"} <= set(schema["required"])


def test_trajectories_need_no_torch() -> None:
    code = (
        "import sys, worldkv_cli.commands.traj, trajectories, trajectories.preview, trajectories.schema\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
