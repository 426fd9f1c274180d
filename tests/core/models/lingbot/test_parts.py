"""The parts of a checkpoint: found, of one model, and readable with the packages that are there."""

import sys
from pathlib import Path

import pytest
import torch

from core.errors import ModelFilesError
from core.models.lingbot.parts import open_parts
from tests import tiny_text
from tests.tiny_lingbot import PARTS, TINY, VAE, random_tensors, write_checkpoint

PULL = "worldkv models pull"


@pytest.fixture(autouse=True)
def _nothing_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WORLDKV_CHECKPOINTS", raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("parts") / "raw", num_shards=2)


def refused(checkpoint: Path, model: str = "lingbot") -> ModelFilesError:
    with pytest.raises(ModelFilesError) as caught:
        open_parts(model, checkpoint).check()
    return caught.value


@pytest.mark.parametrize(
    ("layout", "model"), [("raw", "lingbot"), ("diffusers", "lingbot"), ("v2", "lingbot-v2")]
)
def test_every_layout(tmp_path: Path, layout: str, model: str) -> None:
    parts = open_parts(model, write_checkpoint(tmp_path / "ck", layout, num_shards=2))
    parts.check()
    assert parts.files.layout == layout
    assert parts.transformer.config == TINY
    assert parts.text_config.dim == TINY.text_dim
    assert parts.vae.config.z_dim == 16


@pytest.mark.parametrize("part", [part for part in PARTS if part != "transformer"])
@pytest.mark.parametrize(
    ("layout", "model", "flags"),
    [("raw", "lingbot", ""), ("diffusers", "lingbot", " --layout diffusers"), ("v2", "lingbot-v2", "")],
)
def test_a_part_is_missing(tmp_path: Path, part: str, layout: str, model: str, flags: str) -> None:
    """The hint fetches it in the layout that the others have."""
    folder = write_checkpoint(
        tmp_path / "ck", layout, parts=[each for each in PARTS if each != part], num_shards=2
    )
    error = refused(folder, model)
    assert error.problem == f"the {part.replace('_', ' ')} of {model} was not found"
    assert error.where.startswith(f"beside {folder}/")
    assert error.hint == f"{PULL} {model}{flags} --part {part}"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    error = refused(tmp_path / "typo")
    assert error.problem == "the checkpoint's folder does not exist"
    assert error.where == f"--checkpoint {tmp_path / 'typo'}"
    assert error.hint == f"check the path, or fetch it: {PULL} lingbot"


@pytest.mark.parametrize("package", ["diffusers", "transformers", "ftfy", "tokenizers"])
def test_a_package_is_missing(raw: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    parts = open_parts("lingbot", raw)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModelFilesError, match=package) as caught:
        parts.check()
    assert caught.value.hint == 'pip install "worldkv[wan]"'


class TestStrangers:
    def test_the_codec_of_another_model(self, tmp_path: Path) -> None:
        tensors = random_tensors(TINY)
        tensors["head.head.weight"], tensors["head.head.bias"] = torch.zeros(32, 128), torch.zeros(32)
        tensors["patch_embedding.weight"] = torch.zeros(128, 20, 1, 2, 2)
        folder = write_checkpoint(tmp_path / "ck", tensors=tensors, num_shards=2)
        error = refused(folder)
        assert error.problem == "the codec's latents have 16 channels, the transformer's 8"
        assert error.where == str(folder / VAE)

    def test_the_text_encoder_of_another_model(self, tmp_path: Path) -> None:
        tensors = random_tensors(TINY)
        tensors["text_embedding.0.weight"] = torch.zeros(128, 99)
        folder = write_checkpoint(tmp_path / "ck", tensors=tensors, num_shards=2)
        error = refused(folder)
        assert error.problem == "the text encoder's tokens are 32 wide, the transformer takes 99"
        assert error.where == str(folder / tiny_text.WEIGHTS)
        assert error.hint == "are both of one model? see: worldkv models check"
