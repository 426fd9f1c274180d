"""What is said about files before a tensor is read."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from core.errors import ModelFilesError
from core.models.wan.vae_files import check_vae_files
from core.models.wan.vae_layout import num_parameters
from tests.tiny_vae import TINY, diffusers_config, diffusers_tensors, official_tensors, write_vae

MISSING, FIRST = "decoder.middle.0.residual.2.bias", "encoder.conv1.weight"


@pytest.mark.parametrize("layout", ["official", "diffusers", "sharded"])
def test_a_whole_vae_is_counted(tmp_path: Path, layout: str) -> None:
    files = check_vae_files(write_vae(tmp_path / "vae.pth", layout))
    assert files.layout == ("official" if layout == "official" else "diffusers")
    assert files.config == TINY
    assert (files.num_tensors, files.num_parameters, files.dtype) == (194, num_parameters(TINY), "float32")
    assert len(files.weights.files) == (2 if layout == "sharded" else 1)


def test_element_types_are_told(tmp_path: Path) -> None:
    half = {name: tensor.bfloat16() for name, tensor in official_tensors().items()}
    torch.save(half, tmp_path / "vae.pth")
    assert check_vae_files(tmp_path / "vae.pth").dtype == "bfloat16"


def fails(path: Path) -> ModelFilesError:
    with pytest.raises(ModelFilesError) as error:
        check_vae_files(path)
    assert error.value.hint
    return error.value


def changed(path: Path, **changes: torch.Tensor | None) -> Path:
    """An official file in which some tensors are others, or none."""
    tensors = official_tensors() | {name.replace("__", "."): value for name, value in changes.items()}
    torch.save({name: value for name, value in tensors.items() if value is not None}, path)
    return path


def test_missing_unknown_and_misshaped_tensors_are_named_as_in_the_file(tmp_path: Path) -> None:
    path = changed(
        tmp_path / "vae.pth", **{MISSING: None, "decoder.extra": torch.zeros(1), "conv2.bias": torch.zeros(5)}
    )
    error = fails(path)
    assert f"missing {MISSING}" in error.problem
    assert "unknown decoder.extra" in error.problem
    assert "conv2.bias is [5], not [16]" in error.problem
    assert error.where == str(path)


def test_tensors_that_sizes_are_read_from_are_named(tmp_path: Path) -> None:
    assert FIRST in fails(changed(tmp_path / "vae.pth", **{FIRST: None})).problem


def test_other_networks_are_refused(tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "other.pth")
    assert "this is no Wan 2.1 VAE" in fails(tmp_path / "other.pth").problem
    wide = changed(tmp_path / "z48.pth", **{"conv2.weight": torch.zeros(48, 48, 1, 1, 1)})
    assert "48 latent channels, not 16" in fails(wide).problem
    odd = changed(tmp_path / "odd.pth", **{"encoder.downsamples.1.residual.6.weight": torch.zeros(7, 4)})
    assert "no multiples of 4" in fails(odd).problem
    gap = changed(tmp_path / "gap.pth", **{n: None for n in official_tensors() if ".downsamples.5." in n})
    assert "not a row of stages" in fails(gap).problem


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = write_vae(tmp_path / "vae.pth")
    path.write_bytes(path.read_bytes()[:100_000])
    assert fails(path).where == str(path)
    path.write_bytes(b"not a checkpoint")
    assert fails(path).where == str(path)


def folder(tmp_path: Path, config: object) -> Path:
    tmp_path.mkdir(exist_ok=True)
    save_file(diffusers_tensors(), tmp_path / "diffusion_pytorch_model.safetensors")
    (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return tmp_path


def test_a_folder_without_configuration_is_refused(tmp_path: Path) -> None:
    path = write_vae(tmp_path / "vae", "diffusers")
    (path / "config.json").unlink()
    assert fails(path).where == str(path / "config.json")


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ("{", "cannot be read"),
        ("[]", "no table of settings"),
        (diffusers_config(is_residual=True), "is_residual is True, not False"),
        (diffusers_config(_class_name="AutoencoderKL"), "_class_name is 'AutoencoderKL'"),
        (diffusers_config(decoder_base_dim=8), "decoder_base_dim is 8, not None"),
        (diffusers_config(dim_mult="wide"), "does not fit"),
        (diffusers_config(latents_std=[1.0]), "16 means and 1 deviations"),
        (diffusers_config(base_dim=8), "of wrong shape"),
    ],
)
def test_configurations_that_do_not_fit_are_refused(tmp_path: Path, config: object, problem: str) -> None:
    assert problem in fails(folder(tmp_path / "vae", config)).problem


def test_settings_may_be_left_out(tmp_path: Path) -> None:
    path = folder(tmp_path / "vae", {"base_dim": 4, "decoder_base_dim": 4})
    assert check_vae_files(path).config == TINY


def test_a_folders_own_statistics_are_used(tmp_path: Path) -> None:
    path = folder(tmp_path / "vae", diffusers_config(latents_mean=[0.5] * 16, latents_std=[2.0] * 16))
    config = check_vae_files(path).config
    assert (config.latent_mean, config.latent_std) == ((0.5,) * 16, (2.0,) * 16)
