"""`worldkv report` as a user meets it."""

import json
import webbrowser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.core.report.runs import made_up_run
from worldkv_cli.main import app


def report(*words: object):
    return CliRunner().invoke(app, ["report", *map(str, words)])


def test_says_where_it_is_and_what_is_missing(tmp_path: Path) -> None:
    told = report(made_up_run(tmp_path / "run", 3))
    size = (tmp_path / "run" / "report.html").stat().st_size / 1000
    assert told.exit_code == 0
    assert told.stdout == f"{tmp_path / 'run' / 'report.html'}\n  {size:.3g} kB, no video\n"
    assert told.stderr == "warning: There is no video: nothing to play, and no revisits to compare\n"


def test_json(tmp_path: Path) -> None:
    run = made_up_run(tmp_path / "run", 3)
    told = report(run, run, "--out", tmp_path / "both.html", "--json")
    said = json.loads(told.stdout)
    assert told.stderr == ""
    assert said["report"] == str(tmp_path / "both.html")
    assert said["size_bytes"] == (tmp_path / "both.html").stat().st_size
    assert said["runs"] == [str(run), str(run)]
    assert said["video"] == "none"
    assert len(said["missing"]) == 2


def test_errors_in_three_lines(tmp_path: Path) -> None:
    run = made_up_run(tmp_path / "run", 3)
    assert report(run).exit_code == 0
    told = report(run)
    assert told.exit_code == 2
    assert told.stderr == (
        f"error: the report exists\n  at: {run / 'report.html'}\n"
        "hint: --overwrite replaces it, or choose another --out\n"
    )
    assert report(run, "--overwrite").exit_code == 0


@pytest.mark.parametrize("starts", [True, False])
def test_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, starts: bool) -> None:
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or starts)
    run = made_up_run(tmp_path / "run", 3)
    told = report(run, "--open")
    assert opened == [(run / "report.html").resolve().as_uri()]
    assert ("no browser can be started here" in told.stderr) is not starts


def test_generate_takes_an_old_report_away(tmp_path: Path) -> None:
    """A report of a run that is no more would lie."""
    run = made_up_run(tmp_path / "run", 3)
    assert report(run).exit_code == 0
    script = tmp_path / "script.yaml"
    script.write_text("version: 1\nname: x\nfps: 16\nsteps: [{turn: {yaw_deg: 30}}]\n")
    settings = ["generate", "--traj", str(script), "--out", str(run), "--overwrite", "--scale", "1", "-q"]
    assert CliRunner().invoke(app, settings).exit_code == 0
    assert sorted(path.name for path in run.iterdir()) == [
        "chunks.jsonl",
        "run.json",
        "video.mp4",
        "views.jsonl",
    ]
