"""`worldkv profile`: what it prints, what it leaves, and what it refuses."""

import json
import os
import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from core.calibration import calibration_path
from core.profiling import rounds
from core.profiling.output import load_report
from core.profiling.rounds import TimedChunk
from tests.worldkv_cli.generate.runs import Told
from worldkv_cli import profile_table
from worldkv_cli.main import app

SMALL = ("--chunks", "6,8", "--repeats", "1", "--modes", "sliding,worldkv")


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder and a cache of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in [name for name in os.environ if name.startswith("WORLDKV_")]:
        monkeypatch.delenv(name)


def profile(*arguments: str) -> Told:
    done = CliRunner().invoke(app, ["profile", *arguments])
    return Told(done.exit_code, done.stdout, done.stderr)


def test_tables_files_and_calibration(tmp_path: Path) -> None:
    told = profile(*SMALL, "--out", "out", "--trace", "7")
    assert (told.exit_code, told.stderr) == (0, "")
    lines = told.stdout.splitlines()
    assert lines[0].startswith("mini, 3.6 M parameters, 80x48, float32 on ")
    titles = [
        "ratios of chunk times, paired: median (quartiles)",
        "milliseconds of a chunk, medians (quartiles)",
    ]
    at = [lines.index(title) for title in titles]
    assert at == sorted(at)  # ratios first
    assert lines[at[0] + 2].startswith("worldkv / sliding ")
    assert any(line.startswith("a late chunk against the hardware's limit (") for line in lines)
    assert "out/profile.json" in lines
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        [
            *(
                f"{name}.{kind}"
                for name in ("chunk-time", "memory", "ratios", "stages")
                for kind in ("png", "svg")
            ),
            "profile.csv",
            "profile.json",
            "trace-0-sliding-7.json",
            "trace-1-worldkv-7.json",
        ]
    )
    trace = json.loads((tmp_path / "out" / "trace-1-worldkv-7.json").read_text())
    assert any("mm" in event.get("name", "") for event in trace["traceEvents"])
    (kept,) = json.loads(calibration_path().read_text())["calibrations"].values()
    assert (kept["model"], kept["dtype"]) == ("mini", "float32")
    assert str(calibration_path()) in lines


def test_json_is_one_object_and_needs_neither_folder_nor_matplotlib(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("core.profiling.plots.can_plot", lambda: False)
    told = profile(*SMALL, "--json")
    assert told.exit_code == 0
    assert told.stderr == 'warning: no figures without matplotlib: pip install "worldkv[report]"\n'
    report = json.loads(told.stdout)
    folder = Path(report["folder"])
    assert str(folder).startswith("runs/profile-mini-")
    assert {path.suffix for path in folder.iterdir()} == {".json", ".csv"}
    assert (report["status"], report["schema_version"]) == ("done", 1)
    assert [cell["mode"] for cell in report["cells"]] == ["sliding", "worldkv"]
    assert json.loads((folder / "profile.json").read_text())["ratios"] == report["ratios"]
    monkeypatch.setattr(profile_table.sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "140")
    profile_table.print_report(load_report(folder), [])
    table = capsys.readouterr().out
    assert "ratios of chunk times" in table
    assert "worldkv / sliding" in table
    assert "\N{BOX DRAWINGS HEAVY VERTICAL}" in table


def test_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").touch()
    told = profile(*SMALL, "--out", "out")
    assert told.exit_code == 2
    assert told.stderr == (
        "error: the output folder is not empty: thesis.txt\n  at: out\nhint: choose another --out\n"
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--modes", "ful"], "unknown memory mode 'ful'"),
        (["--chunks", "10;20"], "expected whole numbers with commas between, got '10;20'"),
        (["--chunks", "3"], "rollouts are at least 6 chunks long, got 3"),
        (["--scale", "0.1"], "a checkpoint has the size it has"),
        (["--random-weights"], "mini has its weights in the package: nothing is random or scaled"),
        (["--model", "lingbt"], "unknown model 'lingbt'"),
        (["--vram-budget", "lots"], "expected sizes with commas between, got 'lots'"),
        (["--device", "gpu"], "device must be auto, cpu, mps, cuda or cuda:N, got 'gpu'"),
        (["--traj", "nowhere"], "nowhere"),
    ],
)
def test_refusals_leave_no_folder(arguments: list[str], told: str, tmp_path: Path) -> None:
    found = profile(*arguments, "--out", "out")
    assert found.exit_code == 2
    assert told in found.stderr.splitlines()[0]
    assert "Traceback" not in found.stderr
    assert not (tmp_path / "out" / "profile.json").exists()


def test_budget_that_nothing_fits() -> None:
    told = profile(*SMALL, "--vram-budget", "1MB")
    assert told.exit_code == 2
    assert told.stderr.startswith("error: nothing of the grid fits: 8 chunks need ")


def test_one_layer_times_what_does_not_fit() -> None:
    few = ("--chunks", "6", "--repeats", "1", "--modes", "full", "--vram-budget", "1MB")
    told = profile(*few, "--one-layer", "--out", "out")
    assert told.exit_code == 0
    lines = told.stdout.splitlines()
    at = lines.index("does not fit for real")
    assert lines[at + 2].startswith("full  6 chunks need ")
    assert "note: all layers share one layer's keys and values: times are real, memory is not" in lines


def test_several_budgets() -> None:
    few = ("--chunks", "6", "--repeats", "1", "--modes", "sink", "--json")
    report = json.loads(profile(*few, "--vram-budget", "1GiB,2MB,2GiB").stdout)
    cells = {cell["budget_bytes"]: cell for cell in report["cells"]}
    assert list(cells) == [1 << 30, 2_000_000, 2 << 30]
    assert [len(cell["chunks"]) for cell in cells.values()] == [6, 0, 6]
    assert cells[2_000_000]["refused"].startswith("6 chunks need ")


def test_short_profile_leaves_the_better_calibration() -> None:
    assert profile(*SMALL, "--out", "long").stderr == ""
    kept = calibration_path().read_text()
    short = ("--chunks", "6", "--repeats", "1", "--modes", "sliding,worldkv")
    told = profile(*short, "--out", "short")
    assert told.exit_code == 0
    assert told.stderr.startswith("warning: the calibration of ")
    assert " stays, its rollouts are longer, 8 chunks against 6: " in told.stderr
    assert told.stderr.endswith(f"{calibration_path()} (--recalibrate replaces it)\n")
    assert calibration_path().read_text() == kept
    assert profile(*short, "--recalibrate", "--out", "again").stderr == ""
    (found,) = json.loads(calibration_path().read_text())["calibrations"].values()
    assert found["num_chunks"] == 6


def test_missing_checkpoint() -> None:
    told = profile("--model", "lingbot", "--checkpoint", "nowhere")
    assert told.exit_code == 4
    assert told.stderr.startswith("error: the checkpoint's folder does not exist\n")


def test_interrupt_leaves_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[TimedChunk] = []
    step = rounds._Run.step

    def stepped(self: rounds._Run) -> TimedChunk:
        seen.append(step(self))
        if len(seen) == 9:
            os.kill(os.getpid(), signal.SIGINT)
        return seen[-1]

    monkeypatch.setattr(rounds._Run, "step", stepped)
    told = profile(*SMALL, "--out", "out")
    assert told.exit_code == 130
    assert told.stderr == "interrupted: 9 chunks are in out/profile.json\n"
    report = json.loads(Path("out/profile.json").read_text())
    assert report["status"] == "interrupted"
    assert sum(len(cell["chunks"]) for cell in report["cells"]) == 9
    assert not calibration_path().exists()
