import os
from pathlib import Path

import pytest

from core.models.checkpoint.locate import (
    Root,
    checkpoint_folders,
    flag_roots,
    hub_cache,
    places_looked,
    search_roots,
    snapshot,
)


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, "/home/me/.cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
        ({"XDG_CACHE_HOME": "/x", "HF_HOME": "/h"}, "/h/hub"),
        ({"HF_HOME": "/h", "HUGGINGFACE_HUB_CACHE": "/old"}, "/old"),
        ({"HF_HOME": "/h", "HF_HUB_CACHE": "~/c", "HUGGINGFACE_HUB_CACHE": "/old"}, "/home/me/c"),
        ({"HF_HUB_CACHE": "$HOME/c"}, "/home/me/c"),
        ({"HF_HUB_CACHE": "", "HF_HOME": "/h"}, "/h/hub"),
    ],
)
def test_the_cache_is_where_its_library_has_it(
    env: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert hub_cache(env) == Path(expected)


def make_snapshot(cache: Path, repo: str, revision: str, mtime: int = 0) -> Path:
    folder = cache / f"models--{repo.replace('/', '--')}" / "snapshots" / revision
    folder.mkdir(parents=True)
    os.utime(folder, (mtime, mtime))
    return folder


def test_a_snapshot_is_mains_else_the_newest(tmp_path: Path) -> None:
    assert snapshot(tmp_path, "me/net") is None
    newest = make_snapshot(tmp_path, "me/net", "aaa", mtime=300)
    oldest = make_snapshot(tmp_path, "me/net", "bbb", mtime=100)
    make_snapshot(tmp_path, "me/net", "ccc", mtime=200)
    make_snapshot(tmp_path, "me/other", "ddd", mtime=400)
    assert snapshot(tmp_path, "me/net") == newest
    reference = tmp_path / "models--me--net" / "refs" / "main"
    reference.parent.mkdir()
    reference.write_text("bbb\n")
    assert snapshot(tmp_path, "me/net") == oldest
    reference.write_text("gone")
    assert snapshot(tmp_path, "me/net") == newest


def test_the_folders_come_before_the_cache(tmp_path: Path) -> None:
    env = {"WORLDKV_CHECKPOINTS": f"/a{os.pathsep}{os.pathsep}/b", "HF_HUB_CACHE": str(tmp_path)}
    cached = make_snapshot(tmp_path, "me/net", "aaa")
    assert checkpoint_folders(env) == (Path("/a"), Path("/b"))
    assert search_roots(("me/net", "me/none"), ("home",), env) == (
        *(
            Root(Path(folder) / name, "WORLDKV_CHECKPOINTS")
            for folder in ("/a", "/b")
            for name in ("", "home", "net", "none", "me/net", "me/none")
        ),
        Root(cached, "Hugging Face cache"),
    )
    assert places_looked(env) == f"WORLDKV_CHECKPOINTS (/a, /b), Hugging Face cache ({tmp_path})"
    assert places_looked({"HF_HUB_CACHE": "/c"}) == "WORLDKV_CHECKPOINTS (not set), Hugging Face cache (/c)"


def test_a_given_folder_may_hold_several_checkpoints() -> None:
    roots = flag_roots(Path("/a"), ("base", "fast"))
    assert [root.folder for root in roots] == [Path("/a"), Path("/a/base"), Path("/a/fast")]
    assert {root.source for root in roots} == {"--checkpoint"}
