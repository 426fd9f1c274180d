import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from core.errors import ModelFilesError
from core.models.checkpoint.shards import Weights, find_weights, open_weights
from tests.core.models.checkpoint.writing import INDEX, write_shards

TENSORS = {f"layer.{i}.weight": torch.full((4, i + 1), float(i)) for i in range(6)}
SHARD = "model-{:05}-of-00003.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six tensors in three shards."""
    return write_shards(tmp_path / "weights", TENSORS, num_shards=3)


def refusal(path: Path) -> ModelFilesError:
    with pytest.raises(ModelFilesError) as caught:
        open_weights(path)
    return caught.value


def facts(weights: Weights) -> dict[str, tuple[tuple[int, ...], str, str]]:
    return {name: (t.shape, t.dtype, t.file.name) for name, t in weights.tensors.items()}


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(first: int, last: int, shape: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, last]}


def test_shards_are_those_of_the_index(folder: Path) -> None:
    weights = open_weights(folder)
    assert weights.source == folder / INDEX
    assert facts(weights) == {
        name: (tuple(tensor.shape), "float32", SHARD.format(int(name[6]) // 2 + 1))
        for name, tensor in TENSORS.items()
    }
    assert weights.files == tuple(folder / SHARD.format(i) for i in (1, 2, 3))
    assert weights.num_parameters == sum(t.numel() for t in TENSORS.values())
    assert weights.num_bytes == 4 * weights.num_parameters
    assert open_weights(folder / INDEX) == weights


def test_a_single_file_stands_for_a_folder(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "any.safetensors")
    assert {n: s for n, (s, _, _) in facts(open_weights(tmp_path)).items()} == {
        name: tuple(t.shape) for name, t in TENSORS.items()
    }
    assert open_weights(tmp_path) == open_weights(tmp_path / "any.safetensors")


def test_a_pth_is_opened_without_its_data(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2, 3, dtype=torch.bfloat16), "b": torch.zeros(4)}, tmp_path / "w.pth")
    weights = open_weights(tmp_path)
    assert facts(weights) == {"a": ((2, 3), "bfloat16", "w.pth"), "b": ((4,), "float32", "w.pth")}
    assert (weights.num_bytes, weights.num_parameters, weights.dtypes) == (28, 10, ("float32", "bfloat16"))


@pytest.mark.parametrize(
    "dtype",
    [
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn),
        *(torch.float8_e5m2, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    ],
    ids=str,
)
def test_element_types(tmp_path: Path, dtype: torch.dtype) -> None:
    save_file(
        {"scalar": torch.ones((), dtype=dtype), "none": torch.ones(0, 3, dtype=dtype)},
        tmp_path / "w.safetensors",
    )
    weights = open_weights(tmp_path)
    assert {f"torch.{t.dtype}" for t in weights.tensors.values()} == {str(dtype)}
    assert weights.shapes == {"scalar": (), "none": (0, 3)}


def test_tensors_that_the_index_does_not_name_are_not_part_of_it(folder: Path) -> None:
    index = json.loads((folder / INDEX).read_text())
    del index["weight_map"]["layer.3.weight"]
    (folder / INDEX).write_text(json.dumps(index))
    assert "layer.3.weight" not in open_weights(folder).tensors


def test_missing_shards_are_named(folder: Path) -> None:
    (folder / SHARD.format(1)).unlink()
    (folder / SHARD.format(3)).unlink()
    told = refusal(folder)
    assert told.problem == f"2 of 3 shards are missing: {SHARD.format(1)}, {SHARD.format(3)}"
    assert told.where == str(folder)
    assert told.hint


def test_a_link_into_nowhere_is_a_missing_shard(folder: Path) -> None:
    (folder / SHARD.format(2)).unlink()
    (folder / SHARD.format(2)).symlink_to(folder / "blob")
    assert refusal(folder).problem == f"1 of 3 shards are missing: {SHARD.format(2)}"


@pytest.mark.parametrize("kept", [0, 5, 60, -1])
def test_a_shard_cut_short_is_named(folder: Path, kept: int) -> None:
    """To nothing, within the length, within the header, by the last byte."""
    shard = folder / SHARD.format(2)
    whole = shard.read_bytes()
    shard.write_bytes(whole[:kept])
    told = refusal(folder)
    assert told.where == str(shard)
    assert told.hint == "delete this file and fetch it again"
    if kept == -1:
        assert told.problem == (
            f"a file of weights is cut short: it has {len(whole) - 1:,} of {len(whole):,} bytes"
        )


def test_every_broken_shard_is_named(folder: Path) -> None:
    for shard in (1, 3):
        (folder / SHARD.format(shard)).write_bytes(b"x" * 100)
    told = refusal(folder)
    assert told.where == str(folder / SHARD.format(1))
    assert told.problem.endswith(f"; also broken: {SHARD.format(3)}")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "only Git's pointer"),
        (b"<html>not found</html>", "does not begin with a safetensors header"),
        (safetensors(b"{" * 40), "does not begin with a safetensors header"),
        (safetensors([1]), "no table"),
        (safetensors({"a": 3}), "does not describe a"),
        (safetensors({"a": entry(0, 8, [-2])}), "does not describe a"),
        (safetensors({"a": entry(0, 8, [True])}), "does not describe a"),
        (safetensors({"a": entry(0, 8, [2], "F4")}, bytes(8)), "unknown type F4"),
        (safetensors({"a": entry(0, 8, [3])}, bytes(8)), "takes 8 bytes, which its shape [3] does not"),
        (safetensors({"a": entry(4, 12, [2])}, bytes(12)), "a does not begin where"),
        (safetensors({"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}, bytes(12)), "b does not begin where"),
        (safetensors({"a": entry(0, 8, [2])}, bytes(9)), "1 bytes more than its header says"),
    ],
)
def test_what_is_no_safetensors_file(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    told = refusal(tmp_path)
    assert reason in told.problem
    assert told.where == str(tmp_path / "w.safetensors")
    assert told.hint


def test_index_and_shard_that_disagree(folder: Path) -> None:
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"] |= {f"more.{i}": SHARD.format(2) for i in range(5)}
    (folder / INDEX).write_text(json.dumps(index))
    told = refusal(folder)
    assert told.problem == (
        f"{SHARD.format(2)} lacks tensors that the index says it holds: more.0, more.1, more.2 and 2 more"
    )
    assert told.where == str(folder / SHARD.format(2))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "no table weight_map"),
        ("[1]", "no table weight_map"),
        ('{"weight_map": 3}', "no table weight_map"),
        ('{"weight_map": {}}', "names no tensors"),
        ('{"weight_map": {"a": "../other.safetensors"}}', "the shard of a is no file name"),
        ('{"weight_map": {"a": null}}', "the shard of a is no file name"),
    ],
)
def test_what_is_no_index(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / INDEX).write_text(content)
    told = refusal(tmp_path)
    assert reason in told.problem
    assert told.where == str(tmp_path / INDEX)


@pytest.mark.parametrize("kept", [0, 100, -10])
def test_a_pth_cut_short(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "w.pth"
    torch.save({"a": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:kept])
    told = refusal(path)
    assert told.problem.startswith("a file of weights cannot be read: ")
    assert "\n" not in told.problem
    assert told.where == str(path)


@pytest.mark.parametrize(
    "content", [{}, [torch.zeros(1)], {"a": 3}, {"model": {"a": torch.zeros(1)}}, {"a": Path}]
)
def test_a_pth_of_something_else(tmp_path: Path, content: object) -> None:
    """The last one would run code when it is unpickled."""
    torch.save(content, tmp_path / "w.pth")
    assert refusal(tmp_path).problem.startswith("a file of weights cannot be read: ")


def test_what_a_folder_may_hold(tmp_path: Path, folder: Path) -> None:
    assert "no such file or folder" in refusal(tmp_path / "nowhere").problem
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty").problem == "the folder holds no weights"
    (folder / "other.safetensors.index.json").write_text("{}")
    assert "2 indices" in refusal(folder).problem
    for index in folder.glob("*.json"):
        index.unlink()
    assert "not the index that names them" in refusal(folder).problem
    for shard in (2, 3):
        (folder / SHARD.format(shard)).unlink()
    assert "not the index that names them" in refusal(folder).problem, (
        "one shard alone is no whole checkpoint"
    )
    (folder / SHARD.format(1)).rename(folder / "a.safetensors")
    assert find_weights(folder) == folder / "a.safetensors"
    (folder / "b.safetensors").write_bytes(b"")
    assert "2 files of weights and no index" in refusal(folder).problem
    (folder / "notes.txt").write_text("")
    assert "no file of weights" in refusal(folder / "notes.txt").problem
