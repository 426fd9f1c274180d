"""The parts of a checkpoint: found, of one model, and readable with the packages that are there."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from core.errors import ModelFilesError
from core.models.matrix_game.parts import open_parts
from tests.tiny_clip import tower_of_width, write_clip
from tests.tiny_matrix_game import CLIP, PARTS, PREFIX, VAE, random_tensors, tiny_config, write_checkpoint


@pytest.fixture(autouse=True)
def _nothing_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WORLDKV_CHECKPOINTS", raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("parts") / "ck")


def refused(checkpoint: Path, variant: str = "universal") -> ModelFilesError:
    with pytest.raises(ModelFilesError) as caught:
        open_parts(variant, checkpoint).check()
    return caught.value


@pytest.mark.parametrize("variant", ["universal", "gta_drive", "templerun"])
def test_every_variant(tmp_path: Path, variant: str) -> None:
    parts = open_parts(variant, write_checkpoint(tmp_path / "ck", variant))
    parts.check()
    assert parts.transformer.config == tiny_config(variant)
    assert parts.vae.config.z_dim == 16
    assert parts.clip.config.dim == parts.transformer.config.image_dim
    assert (parts.vae_path.name, parts.clip_path.name) == (VAE, CLIP)


@pytest.mark.parametrize("part", [part for part in PARTS if part != "transformer"])
def test_a_part_is_missing(tmp_path: Path, part: str) -> None:
    folder = write_checkpoint(tmp_path / "ck", parts=[each for each in PARTS if each != part])
    error = refused(folder)
    assert error.problem == f"the {part} of matrix-game was not found"
    assert error.where == f"beside {folder / 'base_distilled_model' / 'base_distill.safetensors'}"
    assert error.hint == f"worldkv models pull matrix-game --part {part}"


@pytest.mark.parametrize(
    ("package", "user"), [("diffusers", "the codec"), ("transformers", "the image encoder")]
)
def test_a_package_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch, package: str, user: str) -> None:
    parts = open_parts("universal", folder)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModelFilesError) as caught:
        parts.check()
    error = caught.value
    assert (error.problem, error.where) == (f"{user} needs the package {package}", package)
    assert error.hint == 'pip install "worldkv[wan]"'


def test_nothing_heavy_is_imported_to_look(folder: Path) -> None:
    """A typo in another flag must not cost the seconds that diffusers takes."""
    code = (
        "import sys; from pathlib import Path; from core.models.matrix_game.parts import open_parts\n"
        f"open_parts('universal', Path({str(folder)!r})).check()\n"
        "print([name for name in ('diffusers', 'transformers', 'torchao') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


class TestStrangers:
    def test_the_codec_of_another_model(self, tmp_path: Path) -> None:
        tensors = random_tensors(tiny_config())
        tensors[f"{PREFIX}head.head.weight"] = torch.zeros(32, 128)
        tensors[f"{PREFIX}head.head.bias"] = torch.zeros(32)
        tensors[f"{PREFIX}patch_embedding.weight"] = torch.zeros(128, 20, 1, 2, 2)
        error = refused(folder := write_checkpoint(tmp_path / "ck", tensors=tensors))
        assert error.problem == "the codec's latents have 16 channels, the transformer's 8"
        assert error.where == str(folder / VAE)
        assert error.hint == "are both of one model? see: worldkv models check"

    def test_the_image_encoder_of_another_model(self, tmp_path: Path) -> None:
        folder = write_checkpoint(tmp_path / "ck", parts=("transformer", "vae"))
        write_clip(folder, config=tower_of_width(160))
        error = refused(folder)
        assert error.problem == "the image encoder's tokens are 160 wide, the transformer takes 80"
        assert error.where == str(folder / CLIP)
