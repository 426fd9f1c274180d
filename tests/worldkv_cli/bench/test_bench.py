"""`worldkv bench`: what it prints, what it leaves, and what it refuses."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from core.bench import run as bench_run
from core.bench.cells import CELLS
from core.bench.output import load_report
from core.schemas.bench import BenchReport
from tests.core.bench.small import made_up, small_file
from tests.worldkv_cli.generate.runs import Told
from worldkv_cli.main import app

VALUES = {"rays 20": [24.0, 28.0], "rays 45": [26.0, 31.0], "pose 45": [25.0, 29.0], "sliding": [14.0, 15.0]}


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of the test's own, and cells that cost nothing."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("WORLDKV_")]:
        monkeypatch.delenv(name)

    def played(tasks, jobs, weights, stop):
        for task in tasks:
            yield task, made_up(task, VALUES[task.setting.label], weights=weights)
            if stop():
                return

    monkeypatch.setattr(bench_run, "_played", played)
    small_file(tmp_path)


def bench(*arguments: str) -> Told:
    done = CliRunner().invoke(app, ["bench", *arguments])
    return Told(done.exit_code, done.stdout, done.stderr)


def test_tables_and_files() -> None:
    told = bench("--suite", "small.yaml", "--out", "out")
    assert (told.exit_code, told.stderr) == (0, "")
    assert "Made by `worldkv bench --suite small.yaml --out out`." in told.stdout.splitlines()[0]
    assert "How many rays (first leg given)" in told.stdout
    assert "rays over sliding" in told.stdout
    left = {path.name for path in Path("out").iterdir()}
    assert {"bench.json", "bench.csv", "table.md", CELLS, "pareto.png", "modes.svg"} <= left
    assert load_report(Path("out")).status == "done"


def test_json_is_the_report() -> None:
    told = bench("--suite", "small.yaml", "--out", "out", "--json", "--only", "modes")
    found = json.loads(told.stdout)
    assert found.pop("folder") == "out"
    report = BenchReport.model_validate(found)
    assert [family.name for family in report.families] == ["modes"]
    assert report.cells_total == 2


def test_it_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    bench("--suite", "small.yaml", "--out", "out", "--only", "modes")
    asked = []
    play = bench_run._played

    def watched(tasks, *rest):
        asked.append([(task.setting.label, task.given) for task in tasks])
        return play(tasks, *rest)

    monkeypatch.setattr(bench_run, "_played", watched)
    assert bench("--suite", "small.yaml", "--out", "out").exit_code == 0
    assert ("rays 45", True) not in asked[0]
    assert len(asked[0]) == 5
    assert bench("--suite", "small.yaml", "--out", "out").stderr == ""
    assert asked[1] == []


def test_only_keeps_what_the_folder_tells() -> None:
    bench("--suite", "small.yaml", "--out", "out")
    assert bench("--suite", "small.yaml", "--out", "out", "--only", "modes").exit_code == 0
    report = load_report(Path("out"))
    assert [family.name for family in report.families] == ["rays", "modes"]
    assert report.command == "worldkv bench --suite small.yaml --out out"
    bench("--suite", "small.yaml", "--out", "some", "--only", "m*")
    assert load_report(Path("some")).command == "worldkv bench --suite small.yaml --out some --only modes"
    bench("--suite", "small.yaml", "--out", "some", "--only", "rays")
    report = load_report(Path("some"))
    assert [family.name for family in report.families] == ["rays", "modes"]
    assert (report.status, report.cells_total) == ("done", 7)


@pytest.mark.parametrize("other", [("--worlds", "1"), ("--quick",)])
def test_results_of_another_suite_are_not_overwritten(
    other: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench("--suite", "small.yaml", "--out", "out")
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    monkeypatch.setattr(bench_run, "_played", None)  # nothing may be played
    suite = () if other == ("--quick",) else ("--suite", "small.yaml")
    told = bench(*suite, *other, "--out", "out")
    assert told.exit_code == 2
    assert told.stderr.startswith(
        "error: the folder holds the results of suite small on worlds 32 to 33, not"
    )
    assert "hint: choose another --out" in told.stderr
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == before


def test_interrupted_says_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.interrupt.StopRequest.__bool__", lambda _: True)
    told = bench("--suite", "small.yaml", "--out", "out")
    assert told.exit_code == 130
    assert told.stderr == "interrupted: 1 of 7 cells are in out; --out out goes on\n"
    assert load_report(Path("out")).status == "interrupted"


def test_a_folder_of_something_else_is_left_alone() -> None:
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("x")
    told = bench("--suite", "small.yaml", "--out", "mine")
    assert told.exit_code == 2
    assert told.stderr == (
        "error: the output folder is no bench's: it holds notes.txt\n  at: mine\nhint: choose another --out\n"
    )


def test_bad_suites_are_named() -> None:
    small_file(Path(), "version: 1\nname: x\nscripts: [360 twic]\nfamilies: []\n")
    assert "hint" not in bench("--suite", "small.yaml").stdout
    told = bench("--suite", "small.yaml")
    assert (told.exit_code, told.stdout) == (2, "")
    assert told.stderr.startswith("error: families:")
    assert bench("--suite", "none.yaml").exit_code == 2
    assert bench("--quick", "--suite", "small.yaml").exit_code == 2
    assert bench("--worlds", "0").exit_code == 2


def test_quick_is_a_suite() -> None:
    from core.bench.suite import load_suite

    assert len(load_suite("quick").tasks()) < len(load_suite("full").tasks()) / 3
