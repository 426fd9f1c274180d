from pathlib import Path

import pytest

from tests.core.models.matrix_game.sessions import write_inputs, write_models


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All variants in one folder, to be read only."""
    return write_models(tmp_path_factory.mktemp("matrix-game"))


@pytest.fixture(autouse=True)
def _inputs_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No model of the developer's."""
    write_inputs(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def files_stay_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading weights is a bug that shows."""

    def load(*_: object, **__: object) -> None:
        raise AssertionError("weights were read")

    for name in ("load_transformer", "load_vae", "encode_image"):
        monkeypatch.setattr(f"core.models.matrix_game.session.{name}", load)
