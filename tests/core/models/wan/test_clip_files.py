"""Files of an image tower: what is wrong with them is found without reading a tensor, and named."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.errors import ModelFilesError
from core.models.wan.clip import check_clip_files
from tests.tiny_clip import (
    FILE,
    TINY,
    random_tensors,
    strangers,
    tower_of_width,
    transformers_config,
    write_clip,
)
from tests.tiny_text import write_text_encoder
from tests.tiny_vae import write_vae

TENSORS = 7 + 12 * TINY.num_layers


def fails(path: Path, num_heads: int | None = TINY.num_heads) -> ModelFilesError:
    with pytest.raises(ModelFilesError) as error:
        check_clip_files(path, num_heads=num_heads)
    assert error.value.hint
    return error.value


def test_a_whole_official_file_is_described(tmp_path: Path) -> None:
    files = check_clip_files(write_clip(tmp_path, dtype=torch.float16), num_heads=4)
    assert (files.layout, files.config) == ("official", TINY)
    assert (files.num_tensors, files.num_parameters) == (TENSORS, TINY.num_parameters)
    assert files.dtype == "float16"
    assert sum(t.num_elements for t in files.used.tensors.values()) == TINY.used_parameters


@pytest.mark.parametrize("layout", ["diffusers", "nested"])
@pytest.mark.parametrize("num_shards", [1, 3])
def test_a_whole_folder_is_described(tmp_path: Path, layout: str, num_shards: int) -> None:
    files = check_clip_files(write_clip(tmp_path, layout, num_shards=num_shards))
    assert (files.layout, files.config) == ("diffusers", TINY)
    assert (files.num_tensors, files.num_parameters) == (7 + 16 * TINY.num_layers, TINY.num_parameters)
    assert len(files.weights.files) == num_shards
    assert sum(t.num_elements for t in files.used.tensors.values()) == TINY.used_parameters


def test_heads_are_80_wide_where_nobody_says_otherwise(tmp_path: Path) -> None:
    config = tower_of_width(240, side_patches=3)
    assert check_clip_files(write_clip(tmp_path, config=config)).config == config
    assert check_clip_files(tmp_path / FILE, num_heads=6).config.num_heads == 6
    assert "does not split into heads of 80" in fails(write_clip(tmp_path / "tiny.pth"), None).problem


def test_only_the_tower_is_kept(tmp_path: Path) -> None:
    names = check_clip_files(write_clip(tmp_path), num_heads=4).weights.tensors
    assert not set(names) & set(strangers())
    folder = write_clip(tmp_path / "image_encoder", "nested")
    extra = {
        "visual_projection.weight": torch.zeros(4, 64),
        "vision_model.embeddings.position_ids": torch.arange(5)[None],
    }
    save_file(load_file(folder / "model.safetensors") | extra, folder / "model.safetensors")
    assert not set(check_clip_files(folder).weights.tensors) & set(extra)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("visual.transformer.1.attn.to_qkv.bias", None, "missing visual.transformer.1.attn.to_qkv.bias"),
        ("visual.transformer.2.mlp.2.bias", None, "missing visual.transformer.2.mlp.2.bias"),  # never read
        ("visual.post_norm.weight", None, "missing visual.post_norm.weight"),
        ("visual.transformer.0.mlp.2.weight", (64, 9), "mlp.2.weight is [64, 9], not [64, 256]"),
        ("visual.cls_embedding", (64,), "visual.cls_embedding is [64], not [1, 1, 64]"),
        ("visual.extra", (2,), "unknown visual.extra"),
        ("visual.transformer.4.norm1.bias", (64,), "missing visual.transformer.3."),
    ],
)
def test_keys_of_a_pth_are_named_as_in_the_file(tmp_path: Path, key: str, value, problem: str) -> None:
    tensors = random_tensors(TINY)
    tensors.pop(key, None)
    if value is not None:
        tensors[key] = torch.zeros(value)
    path = write_clip(tmp_path, tensors=tensors)
    error = fails(path)
    assert problem in error.problem
    assert error.where == str(path)


@pytest.mark.parametrize(("layout", "prefix"), [("diffusers", ""), ("nested", "vision_model.")])
def test_keys_of_a_folder_are_named_as_in_the_file(tmp_path: Path, layout: str, prefix: str) -> None:
    folder = write_clip(tmp_path, layout)
    tensors = load_file(folder / "model.safetensors")
    del tensors[f"{prefix}encoder.layers.1.self_attn.k_proj.bias"]
    tensors[f"{prefix}embeddings.class_embedding"] = torch.zeros(1, 64)
    tensors["text_model.final_layer_norm.bias"] = torch.zeros(4)
    save_file(tensors, folder / "model.safetensors")
    error = fails(folder)
    assert f"missing {prefix}encoder.layers.1.self_attn.k_proj.bias" in error.problem
    assert f"{prefix}embeddings.class_embedding is [1, 64], not [64]" in error.problem
    assert "unknown text_model.final_layer_norm.bias" in error.problem
    assert error.where == str(folder / "model.safetensors")


def other_clip(path: Path) -> Path:
    """Names of OpenAI's towers in open-clip's own layout."""
    names = ("visual.conv1.weight", "visual.class_embedding", "visual.transformer.resblocks.0.ln_1.weight")
    torch.save({name: torch.zeros(2) for name in names}, path / "other.pth")
    return path / "other.pth"


@pytest.mark.parametrize(
    "write",
    [
        other_clip,
        lambda folder: write_vae(folder / "vae.pth"),
        lambda folder: write_text_encoder(folder),
        lambda folder: write_text_encoder(folder, layout="diffusers"),
    ],
)
def test_other_models_are_refused(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    error = fails(write(tmp_path))
    assert error.problem == "this is no CLIP image tower: visual.patch_embedding.weight is missing"
    assert error.where.startswith(str(tmp_path))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"<html>no such file</html>"),
        lambda path: path.write_bytes(path.read_bytes()[:100_000]),
        lambda path: torch.save([1, 2], path),
        lambda path: torch.save({"visual": {"head": torch.ones(2)}}, path),
        lambda path: path.unlink(),
    ],
)
def test_a_damaged_pth_is_named(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    path = write_clip(tmp_path)
    damage(path)
    with pytest.raises(ModelFilesError) as error:
        check_clip_files(path, num_heads=4)
    assert error.value.where == str(path)


def folder_saying(tmp_path: Path, config: object) -> Path:
    folder = write_clip(tmp_path, "diffusers")
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return folder


def lacking(name: str) -> dict[str, object]:
    return {key: value for key, value in transformers_config(TINY).items() if key != name}


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ("{", "cannot be read"),
        ("[]", "no table of settings"),
        (lacking("num_attention_heads"), "its configuration lacks num_attention_heads"),
        (lacking("hidden_act"), "its configuration lacks hidden_act"),  # the library's default is another
        (transformers_config(TINY, hidden_act="quick_gelu"), "hidden_act is 'quick_gelu', not 'gelu'"),
        (transformers_config(TINY, model_type="clip"), "model_type is 'clip', not 'clip_vision_model'"),
        (transformers_config(TINY, hidden_size="wide"), "does not fit"),
        (transformers_config(TINY, num_attention_heads=7), "width 64 does not split into 7 heads"),
        (transformers_config(TINY, image_size=30), "30 pixels do not split into patches of 14"),
        (transformers_config(TINY, num_attention_heads=8), "it has 8 heads, not 4"),
        (transformers_config(TINY, num_hidden_layers=2), "unknown encoder.layers.2."),
        (transformers_config(TINY, image_size=42), "position_embedding.weight is [5, 64], not [10, 64]"),
    ],
)
def test_configurations_that_do_not_fit_are_refused(tmp_path: Path, config: object, problem: str) -> None:
    assert problem in fails(folder_saying(tmp_path, config)).problem


def test_a_missing_configuration_is_named(tmp_path: Path) -> None:
    folder = write_clip(tmp_path, "diffusers")
    (folder / "config.json").unlink()
    error = fails(folder)
    assert error.where == str(folder / "config.json")
    assert error.problem == "the image tower's configuration is missing"


def test_the_configuration_says_what_shapes_do_not(tmp_path: Path) -> None:
    said = transformers_config(TINY, num_attention_heads=8, layer_norm_eps=1e-6)
    config = check_clip_files(folder_saying(tmp_path, said)).config
    assert (config.num_heads, config.eps) == (8, 1e-6)
