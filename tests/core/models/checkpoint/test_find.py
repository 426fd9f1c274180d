from pathlib import Path

import pytest

from core.errors import ModelFilesError
from core.models.checkpoint.find import first_of, holds, searching


def test_folders_before_names_and_never_an_empty_folder(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    (first / "vae").mkdir(parents=True)
    (second / "vae").mkdir(parents=True)
    names = ("net.pth", "vae")
    assert first_of([first, second], names) is None
    (second / "vae" / "config.json").touch()
    assert first_of([first, second], names) == second / "vae"
    (second / "net.pth").touch()
    assert first_of([first, second], names) == second / "net.pth"
    (first / "vae" / "config.json").touch()
    assert first_of([first, second], names) == first / "vae"


def test_names_may_be_patterns(tmp_path: Path) -> None:
    (tmp_path / "model-00001-of-00016.safetensors").touch()
    assert holds(tmp_path, ["*.index.json", "model-*-of-*.safetensors"])
    assert not holds(tmp_path, ["model.safetensors"])
    assert not holds(tmp_path / "nowhere", ["*"])


def test_a_folder_that_may_not_be_read_is_told() -> None:
    with pytest.raises(ModelFilesError) as caught, searching():
        raise PermissionError(13, "Permission denied", "/shelf")
    assert (caught.value.problem, caught.value.where) == (
        "a folder cannot be searched: Permission denied",
        "/shelf",
    )
