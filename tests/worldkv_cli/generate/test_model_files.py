"""Model files that are missing or wrong: exit code 4, and an earlier run is spared."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.models.mini.model import WEIGHTS
from tests.worldkv_cli.generate.runs import generate, log_of

HINT = "hint: reinstall worldkv, or train with: python -m core.models.mini.train\n"


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the weights are looked for; nothing is there."""
    path = tmp_path / "weights.safetensors"
    monkeypatch.setattr("core.models.mini.session.WEIGHTS", path)
    return path


def test_missing(look: Path, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"schema_version": 1}')
    told = generate("--traj", look, "--out", "run", "--overwrite")
    assert (told.exit_code, told.stdout) == (4, "")
    assert told.stderr == f"error: the embedded model's weights are missing\n  at: {weights}\n{HINT}"
    assert (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Error while deserializing header: "),
        (b"version https://git-lfs.github.com/spec/v1\n", "Error while deserializing header: "),
        (WEIGHTS.read_bytes()[:100_000] if WEIGHTS.exists() else b"", "Error while deserializing header: "),
    ],
    ids=["empty", "pointer", "torn"],
)
def test_damaged(look: Path, weights: Path, tmp_path: Path, content: bytes, reason: str) -> None:
    weights.write_bytes(content)
    told = generate("--traj", look, "--out", "run")
    assert (told.exit_code, told.stdout) == (4, "")
    assert told.stderr.startswith(f"error: the embedded model's weights cannot be read: {reason}")
    assert told.stderr.endswith(f"\n  at: {weights}\n{HINT}")
    assert len(told.stderr.splitlines()) == 3
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("metadata", [None, {"config": "{}"}, {"config": "[1"}, {"config": '{"network": 3}'}])
def test_of_something_else(look: Path, weights: Path, metadata: dict[str, str] | None) -> None:
    save_file({"a": torch.zeros(1)}, weights, metadata=metadata)
    told = generate("--traj", look, "--out", "run")
    assert (told.exit_code, told.stdout) == (4, "")
    assert told.stderr.startswith("error: the embedded model's weights cannot be read: ")
    assert told.stderr.endswith(f"\n  at: {weights}\n{HINT}")


def test_missing_tensor_is_named_and_the_log_tells(look: Path, weights: Path, tmp_path: Path) -> None:
    from safetensors import safe_open

    with safe_open(WEIGHTS, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(WEIGHTS)
    del tensors["network.patch_embedding.weight"]
    save_file(tensors, weights, metadata=metadata)
    told = generate("--traj", look, "--out", "run", "--quiet")
    assert (told.exit_code, told.stdout) == (4, "")
    assert "network.patch_embedding.weight" in told.stderr
    assert told.stderr.endswith(f"\n  at: {weights}\n{HINT}")
    log = log_of(tmp_path / "run")
    assert (log.status, log.chunks, log.video) == ("failed", (), None)
    assert log.failure is not None
    assert "network.patch_embedding.weight" in log.failure.problem
    assert json.loads((tmp_path / "run" / "run.json").read_text())["failure"]["where"] == str(weights)
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["chunks.jsonl", "run.json"]
