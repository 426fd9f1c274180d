"""`worldkv eval`: what it prints, which baselines it makes, and what it refuses."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from core import generate as engine
from core.schemas.eval import EvalReport
from tests.worldkv_cli.generate.runs import LOOK as SHORT_LOOK
from tests.worldkv_cli.generate.runs import Told, generate
from worldkv_cli import eval_table, tables
from worldkv_cli.main import app

GAP = ("--min-gap", "8")
LOOK = SHORT_LOOK.replace("40", "90")
"""Far enough that there are views elsewhere."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trajectory, and a run of eight chunks; nobody writes into it."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "look.yaml").write_text(LOOK)
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert generate("--traj", "look.yaml", "--out", "runs/a", "--scale", 2, "--quiet").exit_code == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def runs(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, and the working folder."""
    for name in [name for name in os.environ if name.startswith("WORLDKV_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no-weights"))
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def evaluate(*arguments: str | Path) -> Told:
    done = CliRunner().invoke(app, ["eval", *map(str, arguments)])
    return Told(done.exit_code, done.stdout, done.stderr)


def report_of(told: Told) -> EvalReport:
    assert told.exit_code == 0, told.stderr
    return EvalReport.model_validate_json(told.stdout)


def test_tables_and_files(runs: Path) -> None:
    told = evaluate("runs/a", *GAP, "--csv", "pairs.csv", "--plot", "plot.svg")
    assert (told.exit_code, told.stderr) == (0, "")
    lines = told.stdout.splitlines()
    assert lines[0].startswith("revisits: |translation| + angle/pi <= 0.15, 8 frames or more apart")
    titles = [
        "gain of revisits over controls (0: remembers nothing)",
        "what it is made of: revisit against first visit / control",
        "against the true world",
        "past chunks that see the coming view, and what was retrieved",
    ]
    at = [lines.index(title) for title in titles]
    assert at == sorted(at)  # the gain first
    assert lines[at[0] + 1].split()[0] == "run"
    assert lines[at[0] + 2].startswith("runs/a ")
    assert any(line.startswith("no lpips: LPIPS needs ") for line in lines)
    assert any(line.startswith("note: one rollout tells no spread") for line in lines)
    assert lines[-2:] == ["pairs.csv", "plot.svg"]
    assert Path("pairs.csv").read_text().startswith("folder,group,rollout,")
    assert "s of video" in Path("plot.svg").read_text()


def test_json_is_one_object_by_the_schema(runs: Path) -> None:
    report = report_of(evaluate("runs/a", *GAP, "--json"))
    (run,) = report.runs
    assert (run.folder, run.group, run.model, run.memory, run.frames) == (
        "runs/a",
        "worldkv",
        "mini",
        "worldkv",
        24,
    )
    assert run.gain is not None
    assert run.revisit is not None
    assert run.revisit.pairs == sum(pair.kind == "revisit" for pair in run.pairs) > 0
    assert run.revisit.latent_distance is not None  # mini's codec is in the package
    assert run.truth is not None
    assert run.truth.early_psnr_db is not None
    assert run.retrieval is not None
    assert run.retrieval.basis == "depth"  # the plan that is made again is what the log tells
    assert list(report.missing) == ["lpips"]
    assert report.groups[0].estimates["gain_psnr_db"].low is None


def test_baselines_are_made_once_and_never_overwritten(runs: Path) -> None:
    (runs / "a-sliding").mkdir()
    (runs / "a-sliding" / "thesis.txt").write_text("mine")
    told = evaluate("runs/a", *GAP, "--against", "full,sliding,worldkv", "--json")
    report = report_of(told)
    assert [run.folder for run in report.runs] == ["runs/a", "runs/a-full", "runs/a-sliding-2"]
    assert [each.made for each in report.baselines] == [True, True]
    assert (runs / "a-sliding" / "thesis.txt").read_text() == "mine"
    full = json.loads((runs / "a-full" / "run.json").read_text())
    assert (full["config"]["memory"], full["config"]["seed"], full["config"]["scale"]) == ("full", 0, 2)
    assert "strategy" not in full["config_sources"]
    assert [each.baseline for each in report.differences] == ["full", "sliding"]
    assert report.differences[0].rollouts == 1
    stamps = [path.stat().st_mtime_ns for path in sorted(runs.glob("*/run.json"))]
    again = report_of(evaluate("runs/a", *GAP, "--against", "full,sliding", "--json"))
    assert [each.made for each in again.baselines] == [False, False]
    assert [path.stat().st_mtime_ns for path in sorted(runs.glob("*/run.json"))] == stamps
    both = report_of(evaluate("runs/a", "runs/a-full", "runs/a/", *GAP, "--against", "full", "--json"))
    assert [run.folder for run in both.runs] == ["runs/a", "runs/a-full"]


def test_one_baseline_serves_runs_that_differ_in_memory_alone(runs: Path) -> None:
    arguments = ("--traj", "look.yaml", "--scale", 2, "--order", "newer", "--strategy", "rays", "-q")
    assert generate(*arguments, "--out", "runs/b").exit_code == 0
    report = report_of(evaluate("runs/a", "runs/b", *GAP, "--against", "full", "--json"))
    assert [run.folder for run in report.runs] == ["runs/a", "runs/a-full", "runs/b"]
    assert [(each.of, each.folder, each.made) for each in report.baselines] == [
        ("runs/a", "runs/a-full", True),
        ("runs/b", "runs/a-full", False),
    ]
    shutil.copytree(runs / "a-full", runs / "copy")
    twice = report_of(evaluate("runs/a", "runs/a-full", "runs/copy", *GAP, "--json"))
    assert [(each.group, each.rollouts) for each in twice.groups] == [("worldkv", 1), ("full", 1)]
    assert twice.groups[1].estimates["gain_psnr_db"].low is None
    assert "without runs/copy (as runs/a-full)" in twice.notes[0]


def test_a_baseline_of_other_settings_is_not_taken(runs: Path) -> None:
    assert (
        generate(
            "--traj", "look.yaml", "--memory", "sliding", "--seed", 7, "--out", "runs/a-sliding", "-q"
        ).exit_code
        == 0
    )
    report = report_of(evaluate("runs/a", *GAP, "--against", "sliding", "--json"))
    assert report.runs[1].folder == "runs/a-sliding-2"
    assert report.runs[1].seed == 0


def test_seeds_make_intervals(runs: Path) -> None:
    for seed in (1, 2):
        made = generate("--traj", "look.yaml", "--seed", seed, "--scale", 2, "--out", f"runs/s{seed}", "-q")
        assert made.exit_code == 0
    told = evaluate("runs/a", "runs/s1", "runs/s2", *GAP)
    assert told.exit_code == 0
    assert "mean over rollouts (95% interval)" in told.stdout
    assert "note: intervals from 3 rollouts are too narrow: 8 or more say more" in told.stdout


def test_progress_of_a_baseline_and_an_interrupt(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    finish = engine.RecordMaker.finish

    def finished(self: engine.RecordMaker, *arguments: object) -> object:
        seen.append(1)
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return finish(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(engine.RecordMaker, "finish", finished)
        told = evaluate("runs/a", *GAP, "--against", "sliding")
    assert told.exit_code == 130
    assert told.stdout == ""
    assert told.stderr.splitlines()[0] == "making runs/a-sliding (sliding, 8 chunks)"
    assert told.stderr.splitlines()[-1] == "interrupted: 3 of 8 chunks of the baseline are in runs/a-sliding"
    short = evaluate("runs/a", "runs/a-sliding", "--min-gap", "2")
    assert short.exit_code == 0
    assert "warning: runs/a-sliding: 9 of 24 frames are there: it was interrupted\n" in short.stderr
    assert "note: runs of one trajectory are compared up to the shortest one's end: frame 9" in short.stdout
    report = report_of(evaluate("runs/a", *GAP, "--against", "sliding", "--json"))
    assert report.runs[1].folder == "runs/a-sliding-2"  # what was interrupted stays


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["runs/b"], "there is no such run folder"),
        (["runs"], "this folder holds 1 runs and is none itself"),
        (["runs/a", "--against", "ful"], "unknown memory mode 'ful'"),
        (["runs/a", "--max-distance", "0"], "the distance of a revisit must be above 0, got 0"),
        (
            ["runs/a", "--max-distance", "0.3"],
            "the distance of a revisit must be below 0.3, got 0.3: controls may lie that near, and would be "
            "nearer than what they are compared with",
        ),
        (["runs/a", "--min-gap", "0"], "min-gap must be at least 1, got 0"),
        (["runs/a", "--plot", "plot.pdf"], "a plot is a .png or .svg file, got 'plot.pdf'"),
        (["runs/a", "--csv", "nowhere/pairs.csv"], "there is no such folder"),
    ],
)
def test_refusals(runs: Path, arguments: list[str], told: str) -> None:
    found = evaluate(*arguments)
    assert found.exit_code == 2
    assert found.stderr.splitlines()[0] == f"error: {told}"
    assert found.stdout == ""


def test_a_changed_trajectory_names_both(runs: Path) -> None:
    Path("look.yaml").write_text(LOOK.replace("90", "50"))
    told = evaluate("runs/a")
    assert told.exit_code == 2
    assert told.stderr.splitlines()[:2] == [
        "error: the trajectory look.yaml is not the one that runs/a was made with",
        "  at: look.yaml",
    ]


def test_a_baseline_of_a_changed_picture_is_none(runs: Path) -> None:
    from PIL import Image

    from core.video.reader import read_video

    frame = read_video(runs / "a" / "video.mp4", max_frames=1)[0]
    Image.fromarray(frame).save("first.png")
    assert generate("--traj", "look.yaml", "--image", "first.png", "--out", "runs/p", "-q").exit_code == 0
    Image.fromarray(255 - frame).save("first.png")
    told = evaluate("runs/p", *GAP, "--against", "sliding")
    assert told.exit_code == 2
    assert told.stderr.splitlines()[0] == (
        "error: what runs/p started from has changed: a baseline would be of something else"
    )
    alone = evaluate("runs/p", *GAP)
    assert alone.exit_code == 0
    assert "no true world: the run began with first.png, not in mini's own world" in alone.stdout


def test_tables_on_a_terminal(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = report_of(evaluate("runs/a", *GAP, "--json"))
    monkeypatch.setattr(tables.sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "140")
    eval_table.print_report(report, [])
    assert "\N{BOX DRAWINGS HEAVY VERTICAL}" in capsys.readouterr().out
