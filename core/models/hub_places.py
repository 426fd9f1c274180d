"""Where fetched files go: a plain folder in the raw layout, or the cache of the Hugging Face library.

A file takes its final name only when it is complete and checked. Until then it has a name that ends in
`.incomplete`; what it holds is the beginning of the file, and the next fetch goes on from there.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.models.checkpoint.locate import checkpoint_folders, hub_cache
from core.models.downloads import Part
from core.models.hub_files import RemoteFile, is_intact

_ETAG_CHARS: Final = 12  # enough to tell versions of one file apart


@dataclass(frozen=True)
class Place(ABC):
    """Where files go.

    Attributes:
        root: The folder that everything lies in.
    """

    root: Path

    @property
    @abstractmethod
    def lock(self) -> Path:
        """What a fetch holds, so that no other writes here."""

    @abstractmethod
    def folder(self, part: Part) -> Path:
        """Where a part's files lie, for people."""

    @abstractmethod
    def partial(self, file: RemoteFile) -> Path:
        """Where the file grows."""

    @abstractmethod
    def has(self, file: RemoteFile) -> bool:
        """Whether the file is there, complete, and found by whoever looks for it."""

    @abstractmethod
    def has_content(self, file: RemoteFile) -> bool:
        """Whether nothing is to be fetched, though perhaps still to be linked."""

    @abstractmethod
    def keep(self, file: RemoteFile) -> None:
        """Give a complete and checked file its final name."""

    def received(self, file: RemoteFile) -> int:
        """Bytes of the file that need not be fetched again."""
        return file.size_bytes if self.has_content(file) else min(file.size_bytes, _size(self.partial(file)))


@dataclass(frozen=True)
class FolderPlace(Place):
    """Plain files.

    Attributes:
        by_home: Whether every part gets its `home` in the folder, as among several checkpoints.
    """

    by_home: bool = False

    @property
    def lock(self) -> Path:
        """A hidden file in the folder."""
        return self.root / ".worldkv-pull.lock"

    def folder(self, part: Part) -> Path:
        """Folder under which the repository's paths are laid out."""
        home = self.root / part.home if self.by_home else self.root
        return home / part.target

    def path(self, file: RemoteFile) -> Path:
        """Final name of a file."""
        return self.folder(file.part) / file.path

    def partial(self, file: RemoteFile) -> Path:
        """A hidden file beside the final one; another version of the file has another."""
        return self.path(file).with_name(f".{file.name}.{file.etag[:_ETAG_CHARS]}.incomplete")

    def has(self, file: RemoteFile) -> bool:
        """By size; small files, which may change without changing size, by content too."""
        path = self.path(file)
        if _size(path) != file.size_bytes or not path.is_file():
            return False
        return file.sha256 is not None or is_intact(path, file)

    def has_content(self, file: RemoteFile) -> bool:
        """Plain files need no links."""
        return self.has(file)

    def keep(self, file: RemoteFile) -> None:
        """Rename; remains of other versions go."""
        path = self.path(file)
        self.partial(file).replace(path)
        for old in path.parent.glob(f".{file.name}.{'?' * _ETAG_CHARS}.incomplete"):
            old.unlink(missing_ok=True)


@dataclass(frozen=True)
class CachePlace(Place):
    """The cache that huggingface_hub shares between programs; that library makes the links.

    Attributes:
        endpoint: The hub; None for the library's default.
        revision: What the user asked for; the cache remembers which commit it meant.
    """

    endpoint: str | None
    revision: str

    @property
    def lock(self) -> Path:
        """Where the library has its own locks."""
        return self.root / ".locks" / "worldkv-pull.lock"

    def folder(self, part: Part) -> Path:
        """Folder of the repository."""
        return self.root / ("models--" + part.repo.replace("/", "--"))

    def partial(self, file: RemoteFile) -> Path:
        """Where the library's earlier versions let files grow."""
        return self._blob(file).with_name(f"{file.etag}.incomplete")

    def has(self, file: RemoteFile) -> bool:
        """Whether the link is there, leads to a file of the right size, and the revision names its commit."""
        repo = self.folder(file.part)
        link = repo / "snapshots" / file.commit / file.path
        if _size(link) != file.size_bytes or not link.is_file():
            return False
        reference = repo / "refs" / self.revision
        known = reference.read_text(encoding="utf-8").strip() if reference.is_file() else ""
        return file.commit in (self.revision, known)

    def has_content(self, file: RemoteFile) -> bool:
        """Whether the content is there; another revision may have brought it."""
        blob = self._blob(file)
        return self.has(file) or (blob.is_file() and _size(blob) == file.size_bytes)

    def keep(self, file: RemoteFile) -> None:
        """Make it a blob, and have the library link it."""
        from huggingface_hub import hf_hub_download

        if self.has_content(file):
            self.partial(file).unlink(missing_ok=True)
        else:
            self.partial(file).replace(self._blob(file))
        hf_hub_download(
            file.part.repo, file.path, revision=self.revision, cache_dir=self.root, endpoint=self.endpoint
        )

    def _blob(self, file: RemoteFile) -> Path:
        return self.folder(file.part) / "blobs" / file.etag


def choose_place(to: Path | None, revision: str, env: Mapping[str, str] = os.environ) -> Place:
    """Where fetched files go.

    Args:
        to: A folder for this model alone; None for the first folder of `WORLDKV_CHECKPOINTS`, or else the
            Hugging Face cache.
        revision: What is fetched.
        env: The environment.
    """
    if to is not None:
        return FolderPlace(to.expanduser())
    if folders := checkpoint_folders(env):
        return FolderPlace(folders[0], by_home=True)
    return CachePlace(hub_cache(env), env.get("HF_ENDPOINT") or None, revision)


def _size(path: Path) -> int:
    """0 for what is not there."""
    return path.stat().st_size if path.is_file() else 0
