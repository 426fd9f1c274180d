"""`worldkv models` with a model of several variants: pulled from a hub on this machine, listed, checked."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from core.models.matrix_game.config import VARIANTS
from tests.tiny_hub import TinyHub, TinyRepo, hub_environment, tiny_hub
from tests.tiny_matrix_game import CLIP, VAE, write_checkpoint
from worldkv_cli.main import app

REPO = "Skywork/Matrix-Game-2.0"
UNIVERSAL, GTA, TEMPLERUN = (variant.file for variant in VARIANTS)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The repository with tiny networks of all variants, and what is not needed."""
    folder = write_checkpoint(tmp_path_factory.mktemp("repo"))
    for variant in VARIANTS[1:]:
        write_checkpoint(folder, variant.name, parts=("transformer",))
    (folder / "base_model").mkdir()
    (folder / "base_model" / "diffusion_pytorch_model.safetensors").write_bytes(b"unneeded")
    (folder / "xlm-roberta-large").mkdir()
    (folder / "xlm-roberta-large" / "tokenizer.json").write_bytes(b"unneeded")
    (folder / "README.md").write_text("card")
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def hub(repository: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[TinyHub]:
    with tiny_hub({REPO: TinyRepo(repository)}) as hub:
        hub_environment(monkeypatch, hub, tmp_path)
        yield hub


def models(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["models", *map(str, arguments)])


def told(*arguments: str | Path) -> dict[str, Any]:
    result = models(*arguments, "--json")
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def listed() -> dict[str, Any]:
    (found,) = (each for each in told("list")["models"] if each["name"] == "matrix-game")
    return dict(found["files"])


def test_what_would_be_fetched_and_what_else_there_is(hub: TinyHub, tmp_path: Path) -> None:
    done = models("pull", "matrix-game", "--to", tmp_path / "x", "--dry-run")
    assert (done.exit_code, done.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[0] == f"matrix-game, raw layout, from {hub.endpoint}"
    assert re.fullmatch(rf"universal \S+ MB 2 files \S+ MB to fetch {REPO}", lines[1])
    assert lines[2] == "licence: MIT"
    assert [line.split()[0] for line in (lines[3], lines[5])] == ["vae", "clip"]
    assert lines[7:9] == [
        "gta_drive 6.48 GB not asked for: --part gta_drive",
        "templerun 6.03 GB not asked for: --part templerun",
    ]
    assert hub.contents() == []
    report = told("pull", "matrix-game", "--to", tmp_path / "x", "--dry-run")
    assert [part["name"] for part in report["parts"]] == ["universal", "vae", "clip"]
    assert report["unasked_parts"] == ["gta_drive", "templerun"]
    report = told("pull", "matrix-game", "--to", tmp_path / "x", "--dry-run", "--part", "gta_drive")
    assert ([part["name"] for part in report["parts"]], report["unasked_parts"]) == (["gta_drive"], [])


def test_pull_check_and_list(hub: TinyHub, tmp_path: Path) -> None:
    """Into the cache: what was fetched is whole, and what is listed is what was fetched."""
    missing = listed()
    assert (missing["where"], missing["missing"]) == ("missing", ["universal", "vae", "clip"])
    assert (missing["command"], missing["variants"]) == ("worldkv models pull matrix-game", [])
    done = models("pull", "matrix-game", "--yes")
    assert done.exit_code == 0, done.stderr
    assert done.stderr.endswith("look inside: worldkv models check matrix-game\n")
    assert sorted(set(hub.names())) == sorted([Path(UNIVERSAL).name, "config.json", VAE, CLIP])
    report = told("check", "matrix-game")
    assert (report["ok"], report["variant"], report["source"]) == (True, "universal", "Hugging Face cache")
    assert report["network"]["actions"]["keyboard_dim"] == 4
    found = listed()
    assert (found["where"], found["variants"]) == ("found", ["universal"])
    assert found["path"].endswith(UNIVERSAL)
    refused = models("check", "matrix-game", "--variant", "templerun")
    assert refused.exit_code == 4
    assert "hint: there are others: --variant universal; for this one: worldkv models pull" in refused.stderr


def test_another_variant(hub: TinyHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among several checkpoints; the command that is hinted at fetches all that is needed."""
    monkeypatch.setenv("WORLDKV_CHECKPOINTS", str(tmp_path / "shelf"))
    hint = models("check", "matrix-game", "--variant", "templerun").stderr.splitlines()[2]
    command = hint.removeprefix("hint: worldkv models ").partition(", or ")[0]
    assert command == "pull matrix-game --part templerun,vae,clip"
    done = models(*command.split(), "--yes")
    assert done.stderr.endswith("look inside: worldkv models check matrix-game --variant templerun\n")
    assert (tmp_path / "shelf" / "Matrix-Game-2.0" / TEMPLERUN).is_file()
    assert told("check", "matrix-game", "--variant", "templerun")["ok"]
    found = listed()
    assert (found["where"], found["variants"]) == ("found", ["templerun"])
    models("pull", "matrix-game", "--part", "gta_drive", "--yes")
    assert listed()["variants"] == ["gta_drive", "templerun"]
    done = models("list")
    line = next(line for line in done.stdout.splitlines() if "Matrix-Game-2.0/" in line)
    assert line.endswith(f"{GTA} (WORLDKV_CHECKPOINTS, gta_drive, templerun)")


def test_list_names_what_lacks(hub: TinyHub) -> None:
    models("pull", "matrix-game", "--part", "universal,vae", "--yes")
    found = listed()
    assert (found["where"], found["missing"]) == ("incomplete", ["clip"])
    assert found["command"] == "worldkv models pull matrix-game --part clip"
    assert models(*found["command"].split()[2:], "--yes").exit_code == 0
    assert listed()["where"] == "found"


def test_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("WORLDKV_CHECKPOINTS", raising=False)
    folder = write_checkpoint(tmp_path / "ckpt", "templerun")
    done = models("check", "matrix-game", "--variant", "templerun", "--checkpoint", folder)
    assert (done.exit_code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "matrix-game templerun: raw layout, from --checkpoint"
    assert lines[3].split()[:3] == ["transformer", "ok", "1"]
    assert lines[3].endswith(str(folder / TEMPLERUN))
    assert lines[7] == (
        "network: 3 blocks of width 128, 4 heads of 32, feed-forward 256, picture of width 80, "
        "7 keys and no mouse in 2 blocks, 36 channels in, 16 out"
    )
    assert "licence: MIT (transformer)" in lines
    assert lines[-1] == "ready: a run can start with these files"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["check", "matrix-game", "--variant", "universe"], "did you mean universal?"),
        (["check", "lingbot", "--variant", "universal"], "lingbot has no variants, got 'universal'"),
        (["pull", "matrix-game", "--part", "templrun", "--yes"], "did you mean templerun?"),
        (["pull", "matrix-game", "--layout", "diffusers", "--yes"], "use raw"),
        (["pull", "matrix-gmae", "--yes"], "did you mean matrix-game?"),
    ],
)
def test_usage_errors(arguments: list[str], told: str) -> None:
    done = models(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr
