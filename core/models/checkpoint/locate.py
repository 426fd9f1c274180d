"""Where checkpoints may lie: folders the user names, and the Hugging Face cache. No torch, no network."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CHECKPOINTS_ENV: Final = "WORLDKV_CHECKPOINTS"
"""Folders that hold checkpoints, separated as in PATH."""

FLAG_SOURCE: Final = "--checkpoint"
CACHE_SOURCE: Final = "Hugging Face cache"


@dataclass(frozen=True)
class Root:
    """A folder in which parts of a model may lie.

    Attributes:
        folder: The folder; it need not exist.
        source: Why it is looked at: the flag, the variable, or the cache.
    """

    folder: Path
    source: str


def flag_roots(folder: Path, homes: Iterable[str]) -> tuple[Root, ...]:
    """The folder of `--checkpoint`, and the model's checkpoints side by side in it."""
    return tuple(Root(each, FLAG_SOURCE) for each in _with_homes(folder, homes))


def search_roots(repos: Iterable[str], homes: Iterable[str], env: Mapping[str, str]) -> tuple[Root, ...]:
    """Where to look if the user names no folder, in order.

    Args:
        repos: Repositories, owner/name, that the model's files come from.
        homes: Names of the folders in which they are kept among several checkpoints.
        env: The environment.
    """
    repos = tuple(repos)
    named = (*homes, *(repo.partition("/")[2] for repo in repos), *repos)
    roots = [
        Root(each, CHECKPOINTS_ENV)
        for folder in checkpoint_folders(env)
        for each in _with_homes(folder, dict.fromkeys(named))
    ]
    cache = hub_cache(env)
    snapshots = [snapshot(cache, repo) for repo in repos]
    return (*roots, *(Root(folder, CACHE_SOURCE) for folder in snapshots if folder is not None))


def places_looked(env: Mapping[str, str]) -> str:
    """What `search_roots` looks through, for people."""
    folders = ", ".join(map(str, checkpoint_folders(env))) or "not set"
    return f"{CHECKPOINTS_ENV} ({folders}), {CACHE_SOURCE} ({hub_cache(env)})"


def checkpoint_folders(env: Mapping[str, str]) -> tuple[Path, ...]:
    """The folders of `WORLDKV_CHECKPOINTS`."""
    entries = env.get(CHECKPOINTS_ENV, "").split(os.pathsep)
    return tuple(Path(entry).expanduser() for entry in entries if entry)


def hub_cache(env: Mapping[str, str]) -> Path:
    """The Hugging Face cache, by the rules of its library."""
    for name, below in (
        ("HF_HUB_CACHE", ""),
        ("HUGGINGFACE_HUB_CACHE", ""),
        ("HF_HOME", "hub"),
        ("XDG_CACHE_HOME", "huggingface/hub"),
    ):
        if env.get(name):
            return Path(os.path.expandvars(env[name])).expanduser() / below
    return Path("~/.cache/huggingface/hub").expanduser()


def snapshot(cache: Path, repo: str) -> Path | None:
    """A repository's files in the cache: the revision that `main` was at the last fetch, else the newest one.

    Args:
        cache: The cache.
        repo: Repository, owner/name.
    """
    folder = cache / f"models--{repo.replace('/', '--')}"
    reference = folder / "refs" / "main"
    if reference.is_file():
        main = folder / "snapshots" / reference.read_text(encoding="utf-8").strip()
        if main.is_dir():
            return main
    revisions = folder / "snapshots"
    found = [path for path in revisions.iterdir() if path.is_dir()] if revisions.is_dir() else []
    return max(found, key=lambda path: (path.stat().st_mtime, path.name), default=None)


def _with_homes(folder: Path, homes: Iterable[str]) -> list[Path]:
    return [folder, *(folder / home for home in homes)]
