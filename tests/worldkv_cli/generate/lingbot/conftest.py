from pathlib import Path

import pytest

from tests.tiny_lingbot import write_checkpoint
from tests.worldkv_cli.generate.lingbot.runs import write_inputs


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """raw, diffusers and v2, to be read only."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for layout in ("raw", "diffusers", "v2"):
        write_checkpoint(folder / layout, layout, num_shards=4)
    return folder


@pytest.fixture
def raw(checkpoints: Path) -> Path:
    return checkpoints / "raw"


@pytest.fixture(autouse=True)
def _inputs_and_nothing_else(checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No model of the developer's; a prompt is encoded once for all tests."""
    write_inputs(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(checkpoints / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def files_stay_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading weights is a bug that shows."""

    def load(*_: object, **__: object) -> None:
        raise AssertionError("weights were read")

    for name in ("load_transformer", "load_vae", "encode_prompt"):
        monkeypatch.setattr(f"core.models.lingbot.session.{name}", load)
