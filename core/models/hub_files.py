"""One file on the hub, and whether bytes on the disk are that file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.models.downloads import Part

_BLOCK_BYTES: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file of a repository at one commit, as the hub describes it.

    Attributes:
        part: The part of the model that it belongs to.
        path: Path in the repository.
        commit: The commit at which it was listed.
        size_bytes: Its size.
        blob_id: Its git object id: a SHA-1 over a header and the content. Of a large file that of a pointer.
        sha256: SHA-256 of the content of a large file; None for those that lie in git itself.
    """

    part: Part
    path: str
    commit: str
    size_bytes: int
    blob_id: str
    sha256: str | None = None

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.path.rpartition("/")[2]

    @property
    def etag(self) -> str:
        """What identifies its content on the hub and in the hub's cache."""
        return self.sha256 or self.blob_id

    def checksum(self) -> Checksum:
        """A running checksum that ends at `etag` if the content is right."""
        return Checksum(self)


class Checksum:
    """SHA-256, or git's SHA-1 for files that lie in git."""

    def __init__(self, file: RemoteFile) -> None:
        self._wanted = file.etag
        if file.sha256:
            self._hash = hashlib.sha256()
        else:
            header = b"blob %d\0" % file.size_bytes
            self._hash = hashlib.sha1(header, usedforsecurity=False)

    def update(self, data: bytes) -> None:
        """Take the next bytes."""
        self._hash.update(data)

    @property
    def matches(self) -> bool:
        """Whether the bytes so far are the whole file."""
        return self._hash.hexdigest() == self._wanted


def blocks(path: Path) -> Iterator[bytes]:
    """Content of a file, piece by piece."""
    with path.open("rb") as file:
        while data := file.read(_BLOCK_BYTES):
            yield data


def is_intact(path: Path, file: RemoteFile) -> bool:
    """Whether the bytes at `path` are the file; reads all of them."""
    checksum = file.checksum()
    for data in blocks(path):
        checksum.update(data)
    return checksum.matches
