import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from core.memory.layout import MemoryMode
from core.models.registry import list_models
from tests.tiny_lingbot import write_checkpoint
from worldkv_cli.commands.doctor import Check, run_checks
from worldkv_cli.main import app


def checks() -> dict[str, Check]:
    return {check.name: check for check in run_checks()}


def test_looks_at_everything() -> None:
    assert {"worldkv", "python", "platform", "torch", "memory", "ffmpeg", "weights", "output"} <= set(
        checks()
    )


def test_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "slurm" not in checks()
    sbatch = tmp_path / "sbatch"
    sbatch.write_text("#!/bin/sh\necho slurm-wlm 22.05.8\n")
    sbatch.chmod(0o755)
    assert checks()["slurm"].detail.startswith("slurm-wlm 22.05.8, submitit ")
    monkeypatch.setattr("worldkv_cli.commands.doctor.find_spec", lambda _: None)
    found = checks()["slurm"]
    assert (found.status, found.detail) == ("warning", "slurm-wlm 22.05.8, without submitit")
    assert found.hint.endswith('pip install "worldkv[slurm]"')


def test_missing_ffmpeg_is_told_and_the_rest_still_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
    found = checks()
    assert found["ffmpeg"].status == "failed"
    assert "/nowhere/ffmpeg" in found["ffmpeg"].detail
    assert "IMAGEIO_FFMPEG_EXE" in found["ffmpeg"].hint
    assert found["output"].status == "ok"


def test_folder_that_cannot_be_written_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/proc")
    assert checks()["output"].status == "warning"


def test_missing_and_damaged_weights_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert checks()["weights"].status == "ok"
    monkeypatch.setattr("core.models.mini.model.WEIGHTS", tmp_path / "w.safetensors")
    assert checks()["weights"].status == "failed"
    (tmp_path / "w.safetensors").write_bytes(bytes(2_000))
    assert "cannot be read" in checks()["weights"].detail


def test_optional_packages_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks()["wan"].status == "ok"
    monkeypatch.setattr("worldkv_cli.commands.doctor.find_spec", lambda name: None)
    found = checks()["int8"]
    assert (found.status, found.detail) == ("warning", "without torchao")
    assert found.hint == 'for --weights int8 and fp8: pip install "worldkv[int8]"'


def test_checkpoints_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("WORLDKV_CHECKPOINTS", str(tmp_path))
    assert "worldkv models pull lingbot" in checks()["lingbot"].detail
    write_checkpoint(tmp_path / "lingbot-world-base-cam")
    found = checks()["lingbot"]
    assert found.status == "ok"
    assert str(tmp_path) in found.detail


def test_json_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert told["ok"] is False
    assert {(each["model"], each["memory"]) for each in told["rollouts"]} == {
        (entry.name, mode) for entry in list_models() for mode in MemoryMode
    }
    assert set(told["versions"]) == {"worldkv", "python", "platform", "torch", "numpy"}
    assert {"name": "ffmpeg", "status": "failed"}.items() <= next(
        check for check in told["checks"] if check["name"] == "ffmpeg"
    ).items()
    plain = CliRunner().invoke(app, ["doctor"])
    assert plain.exit_code == 1
    assert "failed   ffmpeg" in plain.stdout
    assert re.search(r"^lingbot +", plain.stdout, flags=re.MULTILINE)
    assert "any length" in plain.stdout
