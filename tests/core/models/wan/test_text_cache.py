"""The cache of encoded prompts: right, or ignored; never a reason to fail."""

import logging
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from core.models.wan.text import default_cache_dir
from core.models.wan.text_cache import FORMAT, EncodedPrompt, cache_key, read_cache, write_cache
from tests.tiny_text import write_text, write_text_encoder

KEY = "0" * 64
ENCODED = EncodedPrompt(torch.arange(24.0).reshape(1, 3, 8), 7)


def same(encoded: EncodedPrompt | None) -> bool:
    return encoded is not None and torch.equal(encoded.context, ENCODED.context) and encoded.num_total == 7


def test_what_is_written_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "cache"
    assert read_cache(folder, KEY) is None
    write_cache(folder, KEY, ENCODED)
    assert same(read_cache(folder, KEY))
    assert [path.name for path in folder.iterdir()] == [f"{KEY}.safetensors"]


def test_precision_is_kept(tmp_path: Path) -> None:
    write_cache(tmp_path, KEY, EncodedPrompt(ENCODED.context.bfloat16(), 3))
    assert read_cache(tmp_path, KEY).context.dtype == torch.bfloat16


def foreign(path: Path, **metadata: str) -> None:
    said = {"format": FORMAT, "key": KEY, "num_total": "7"} | metadata
    save_file({"context": ENCODED.context}, path, metadata=said)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-5]),
        lambda path: path.write_bytes(b"<html>" * 100),
        lambda path: save_file({"context": ENCODED.context}, path),
        lambda path: save_file({"other": ENCODED.context}, path, metadata={"format": FORMAT, "key": KEY}),
        lambda path: foreign(path, key="1" * 64),
        lambda path: foreign(path, format="worldkv.text.0"),
        lambda path: foreign(path, num_total="many"),
        lambda path: save_file(
            {"context": ENCODED.context.flatten(1)},
            path,
            metadata={"format": FORMAT, "key": KEY, "num_total": "7"},
        ),
    ],
)
def test_a_damaged_or_foreign_file_is_ignored_and_replaced(tmp_path: Path, caplog, spoil) -> None:
    write_cache(tmp_path, KEY, ENCODED)
    spoil(tmp_path / f"{KEY}.safetensors")
    assert read_cache(tmp_path, KEY) is None
    assert "is ignored" in caplog.text
    write_cache(tmp_path, KEY, ENCODED)
    assert same(read_cache(tmp_path, KEY))


def test_the_foreign_file_above_is_otherwise_right(tmp_path: Path) -> None:
    foreign(tmp_path / f"{KEY}.safetensors")
    assert same(read_cache(tmp_path, KEY))


def test_a_folder_that_cannot_be_made_is_a_warning(tmp_path: Path, caplog) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "cache"
    write_cache(folder, KEY, ENCODED)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert str(folder) in caplog.text
    assert read_cache(folder, KEY) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_a_warning(tmp_path: Path, caplog) -> None:
    tmp_path.chmod(0o500)
    write_cache(tmp_path, KEY, ENCODED)
    assert "not cached" in caplog.text


def test_a_full_disk_is_a_warning(tiny_disk: Path, caplog) -> None:
    write_cache(tiny_disk, KEY, EncodedPrompt(torch.zeros(1, 512, 4096), 512))
    assert "No space left" in caplog.text
    assert list(tiny_disk.iterdir()) == []


def test_a_failed_write_leaves_the_older_file_and_no_rest(tmp_path: Path, monkeypatch, caplog) -> None:
    write_cache(tmp_path, KEY, ENCODED)

    def fail(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    write_cache(tmp_path, KEY, EncodedPrompt(torch.zeros(1, 2, 8), 2))
    assert same(read_cache(tmp_path, KEY))
    assert len(list(tmp_path.iterdir())) == 1
    assert "No space left" in caplog.text


def test_the_key_covers_all_that_matters(tmp_path: Path) -> None:
    files = write_text(tmp_path)
    settings = {"max_tokens": 512, "dtype": torch.float32}
    keys = [
        cache_key("a", files, **settings),
        cache_key("b", files, **settings),
        cache_key("a", files, **settings | {"max_tokens": 64}),
        cache_key("a", files, **settings | {"dtype": torch.bfloat16}),
    ]
    assert cache_key("a", files, **settings) == keys[0]
    write_text_encoder(tmp_path, dtype=torch.float32)
    keys.append(cache_key("a", files, **settings))
    vocabulary = files.tokenizer / "tokenizer.json"
    vocabulary.write_text(vocabulary.read_text().replace("castle", "cattle"))
    keys.append(cache_key("a", files, **settings))
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 64 for key in keys)


def test_default_folder(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache_dir() == tmp_path / "xdg" / "worldkv" / "text"
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert default_cache_dir() == tmp_path / ".cache" / "worldkv" / "text"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_dir() == tmp_path / ".cache" / "worldkv" / "text"
