"""A file that grows, and what must hold while it does: one writer, and no progress bars but ours."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from core.errors import InputError
from core.models.hub_files import Checksum, RemoteFile, blocks

_BARS: Final = "huggingface_hub.http_get"


class PartialFile:
    """A partial file that is checked while it grows; what it held before is checked first.

    It has those methods of a binary file that the library's transfer calls.

    Args:
        path: The file; its folder exists.
        remote: What it is to become.
        on_bytes: Called with the number of bytes that came, negative if they were dropped.
        check_stop: Called before every block; raises where all is to end.

    Attributes:
        size_bytes: What it holds.
        checksum: Of what it holds.
    """

    def __init__(
        self,
        path: Path,
        remote: RemoteFile,
        *,
        on_bytes: Callable[[int], None],
        check_stop: Callable[[], None],
    ) -> None:
        self.size_bytes = 0
        self.checksum: Checksum = remote.checksum()
        self._remote, self._on_bytes, self._check_stop = remote, on_bytes, check_stop
        if path.exists():
            for data in blocks(path):
                check_stop()
                self._take(data)
        self._file = path.open("ab")

    def write(self, data: bytes) -> int:
        """Append."""
        self._check_stop()
        num_bytes = self._file.write(data)
        self._file.flush()  # what is counted is there, even if this thread is never heard of again
        self._take(data)
        self._on_bytes(num_bytes)
        return num_bytes

    def tell(self) -> int:
        """Where the next byte goes."""
        return self.size_bytes

    def seek(self, position: int) -> int:
        """Go to the start, the only place that anybody goes back to: the hub would not continue.

        Raises:
            ValueError: Some other place.
        """
        if position:
            raise ValueError(f"a partial file goes on or starts anew, it cannot go to byte {position}")
        self._on_bytes(-self.size_bytes)
        self.size_bytes, self.checksum = 0, self._remote.checksum()
        return 0

    def truncate(self) -> int:
        """Drop what is behind the position."""
        return self._file.truncate(self.size_bytes)

    def __enter__(self) -> PartialFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _take(self, data: bytes) -> None:
        self.checksum.update(data)
        self.size_bytes += len(data)


@contextmanager
def sole_writer(lock: Path) -> Iterator[None]:
    """Keep a second fetch out: two would append to the same partial files.

    Args:
        lock: What stands for the place. The empty file remains: to remove it would let two in.

    Raises:
        InputError: There is another.
        OSError: The lock cannot be made.
    """
    from filelock import FileLock, Timeout

    lock.parent.mkdir(parents=True, exist_ok=True)
    holder = FileLock(lock, timeout=0)
    try:
        holder.acquire()
    except Timeout:
        problem = "another `worldkv models pull` writes to this folder"
        raise InputError(
            problem, where=str(lock.parent), hint="wait for it, or choose another --to"
        ) from None
    try:
        yield
    finally:
        holder.release()


@contextmanager
def quiet_library() -> Iterator[None]:
    """Our progress and our messages only."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    logger = logging.getLogger("huggingface_hub")
    before, shown = logger.level, not are_progress_bars_disabled(_BARS)
    logger.setLevel(logging.ERROR)
    if shown:
        disable_progress_bars(_BARS)
    try:
        yield
    finally:
        logger.setLevel(before)
        if shown:
            enable_progress_bars(_BARS)
