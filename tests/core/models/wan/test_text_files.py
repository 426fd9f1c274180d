"""Files of a text encoder: what is wrong with them is found without reading a tensor, and named."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.errors import ModelFilesError
from core.models.wan.text import TextFiles, check_text_files
from core.models.wan.text_files import identity, open_text_weights
from tests.tiny_text import TINY, WEIGHTS, random_tensors, write_text, write_text_encoder, write_tokenizer


def broken(path: Path) -> ModelFilesError:
    with pytest.raises(ModelFilesError) as error:
        open_text_weights(path)
    return error.value


@pytest.mark.parametrize("layout", ["raw", "diffusers"])
def test_a_good_folder_is_described(tmp_path: Path, layout: str) -> None:
    files = write_text(tmp_path, layout=layout)
    report = check_text_files(files)
    assert (report.num_tensors, report.dtype, report.config) == (32, "bfloat16", TINY)
    assert report.num_parameters == TINY.num_parameters
    assert report.tokenizer == files.tokenizer / "tokenizer.json"
    assert report.tokenizer_tokens < TINY.vocab_tokens


def test_shards_and_mixed_precision(tmp_path: Path) -> None:
    weights = write_text_encoder(tmp_path, layout="diffusers", num_shards=3)
    part = weights / "model-00002-of-00003.safetensors"
    save_file({name: tensor.float() for name, tensor in load_file(part).items()}, part)
    report = check_text_files(TextFiles(weights, write_tokenizer(tmp_path)))
    assert (report.num_tensors, report.dtype) == (32, "bfloat16+float32")
    part.unlink()
    assert "model-00002-of-00003.safetensors" in broken(weights).problem


@pytest.mark.parametrize("kept", [{"shared"}, {"encoder.embed_tokens"}, {"shared", "encoder.embed_tokens"}])
def test_the_embedding_may_have_either_name(tmp_path: Path, kept: set[str]) -> None:
    weights = write_text_encoder(tmp_path, layout="diffusers")
    tensors = load_file(weights / "model.safetensors")
    embedding = tensors.pop("shared.weight")
    tensors |= {f"{name}.weight": embedding.clone() for name in kept}
    save_file(tensors, weights / "model.safetensors")
    assert open_text_weights(weights).stored.num_parameters == TINY.num_parameters


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("blocks.1.attn.k.weight", None, "missing blocks.1.attn.k.weight"),
        ("blocks.2.ffn.fc2.weight", (32, 81), "blocks.2.ffn.fc2.weight is [32, 81], not [32, 80]"),
        ("decoder.weight", (2, 2), "unknown decoder.weight"),
        ("blocks.0.pos_embedding.embedding.weight", None, "blocks.0.pos_embedding.embedding.weight"),
    ],
)
def test_keys_of_a_pth_are_named_as_in_the_file(tmp_path: Path, key: str, value, problem: str) -> None:
    tensors = random_tensors(TINY)
    tensors.pop(key, None)
    if value is not None:
        tensors[key] = torch.zeros(value)
    path = write_text_encoder(tmp_path, tensors=tensors)
    error = broken(path)
    assert problem in error.problem
    assert error.where == str(path)
    assert "worldkv models pull" in error.hint


def test_keys_of_a_folder_are_named_as_in_the_file(tmp_path: Path) -> None:
    tensors = random_tensors(TINY)
    del tensors["blocks.1.attn.k.weight"]
    weights = write_text_encoder(tmp_path, layout="diffusers", tensors=tensors)
    assert "missing encoder.block.1.layer.0.SelfAttention.k.weight" in broken(weights).problem


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"<html>no such file</html>"),
        lambda path: path.write_bytes(path.read_bytes()[:20_000]),
        lambda path: torch.save([1, 2], path),
        lambda path: torch.save({"model": {"norm.weight": torch.ones(2)}}, path),
        lambda path: torch.save({"where": Path("x")}, path),
        lambda path: path.unlink(),
    ],
)
def test_a_damaged_pth_is_named(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    path = write_text_encoder(tmp_path)
    damage(path)
    assert WEIGHTS in broken(path).where


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"model_type": "t5"}, "model_type is 't5', but the weights need 'umt5'"),
        ({"num_heads": 8, "d_kv": 4}, "num_heads is 8, but the weights need 4; d_kv is 4"),
        ({"feed_forward_proj": "relu"}, "feed_forward_proj is 'relu'"),
        ({"layer_norm_epsilon": "small"}, "cannot be read"),
    ],
)
def test_config_json_must_agree_with_the_weights(tmp_path: Path, change: dict, problem: str) -> None:
    weights = write_text_encoder(tmp_path, layout="diffusers")
    path = weights / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    error = broken(weights)
    assert problem in error.problem
    assert error.where == str(path)


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_missing_or_damaged_config_json_is_named(tmp_path: Path, content: str | None) -> None:
    weights = write_text_encoder(tmp_path, layout="diffusers")
    path = weights / "config.json"
    path.unlink() if content is None else path.write_text(content)
    error = broken(weights)
    assert "config.json cannot be read" in error.problem
    assert error.where == str(path)


def test_config_json_says_what_shapes_do_not(tmp_path: Path) -> None:
    weights = write_text_encoder(tmp_path, layout="diffusers")
    path = weights / "config.json"
    said = json.loads(path.read_text()) | {"relative_attention_max_distance": 64, "layer_norm_epsilon": 1e-5}
    path.write_text(json.dumps(said))
    config = open_text_weights(weights).config
    assert (config.max_distance, config.eps) == (64, 1e-5)


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    files = write_text(tmp_path)
    small = {"token_embedding.weight": torch.zeros(10, TINY.dim)}
    write_text_encoder(tmp_path, tensors=random_tensors(TINY) | small)
    with pytest.raises(ModelFilesError, match=r"knows \d+ tokens, the text encoder only 10"):
        check_text_files(files)


@pytest.mark.parametrize("layout", ["raw", "diffusers"])
def test_identity_follows_the_content_not_the_place(tmp_path: Path, layout: str) -> None:
    files = write_text(tmp_path / "a", layout=layout)
    first = identity(files)
    assert identity(files) == first
    shutil.copytree(tmp_path / "a", tmp_path / "b")  # keeps times
    moved = TextFiles(
        *(tmp_path / "b" / p.relative_to(tmp_path / "a") for p in (files.weights, files.tokenizer))
    )
    assert identity(moved) == first

    vocabulary = moved.tokenizer / "tokenizer.json"
    vocabulary.write_text(vocabulary.read_text() + "\n")
    assert identity(moved) != first
    changed = files.weights if layout == "raw" else files.weights / "config.json"
    times = (changed.stat().st_atime_ns, changed.stat().st_mtime_ns)
    os.utime(changed, ns=(times[0], times[1] + 1))
    assert identity(files) != first


def test_identity_sees_other_weights_of_the_same_size_and_time(tmp_path: Path) -> None:
    files = write_text(tmp_path)
    times = (files.weights.stat().st_atime_ns, files.weights.stat().st_mtime_ns)
    first = identity(files)
    write_text_encoder(tmp_path, tensors=random_tensors(TINY, seed=1))
    os.utime(files.weights, ns=times)
    assert identity(files) != first
