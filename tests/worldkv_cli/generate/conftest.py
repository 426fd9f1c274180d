import os
from pathlib import Path

import pytest

from tests.worldkv_cli.generate.runs import LOOK, generate


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No WORLDKV_* of the developer's, and nothing is left in the working tree."""
    for name in [name for name in os.environ if name.startswith("WORLDKV_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def look(tmp_path: Path) -> Path:
    """A trajectory file of 24 frames."""
    path = tmp_path / "look.yaml"
    path.write_text(LOOK)
    return path


@pytest.fixture(scope="module")
def earlier_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of `look`, to be read only."""
    folder = tmp_path_factory.mktemp("earlier")
    (folder / "look.yaml").write_text(LOOK)
    told = generate("--traj", folder / "look.yaml", "--out", folder / "run", "--quiet", "--scale", 2)
    assert told.exit_code == 0, told.stderr
    return folder / "run"


@pytest.fixture
def weights_stay_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading the weights is a bug that shows."""

    def load(*_: object, **__: object) -> None:
        raise AssertionError("the weights were loaded")

    monkeypatch.setattr("core.models.mini.model.MiniModel.load", load)
