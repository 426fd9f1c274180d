"""A file for this process alone, of a size known ahead, read and written at any offset from any thread.

Its room is reserved when it is made, so that a disk that is too small is known before hours of work. It is
unlinked at once where the system allows that (Linux, macOS): then it ends with the process, however that
ends. Elsewhere it is removed when closed, or at the interpreter's end.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

from core.errors import OutputError

log = logging.getLogger(__name__)

MOST_BUFFERS = 1024
"""Buffers of one system call: the limit (IOV_MAX) of Linux and macOS."""

CANNOT_RESERVE = {errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS, errno.ENODEV}
"""What file systems answer that know no reservation."""

Buffers = list[memoryview]


class RawFile:
    """Bytes on disk.

    Args:
        folder: Where the file is made.
        num_bytes: Its size; until written, bytes are zero.
        prefix: Of its name, while it has one.
        purpose: What it holds, for errors.

    Raises:
        OutputError: There is no room for it, or no file can be made there.
    """

    def __init__(self, folder: Path, num_bytes: int, *, prefix: str, purpose: str) -> None:
        self.folder, self._purpose = folder, purpose
        try:
            descriptor, name = tempfile.mkstemp(prefix=prefix, suffix=".rows", dir=folder)
        except OSError as error:
            raise self._no_file(error) from error
        left: str | None = name
        with contextlib.suppress(OSError):  # Windows keeps the name of an open file
            Path(name).unlink()
            left = None
        self._descriptor = descriptor
        self._end = weakref.finalize(self, _close, descriptor, left)
        self._position = threading.Lock()  # of the file, where it has only one for all threads
        try:
            os.ftruncate(descriptor, num_bytes)
            self._reserve(num_bytes)
        except OSError as error:
            self.close()
            raise self._no_room(num_bytes, error) from error

    def write(self, offset: int, buffers: Buffers) -> None:
        """Write buffers one after the other from an offset on.

        Raises:
            OSError: The system refuses; some of it may be written.
        """
        self._transfer(self._write_some, offset, buffers)

    def read(self, offset: int, buffers: Buffers) -> None:
        """Fill buffers one after the other from an offset on.

        Raises:
            OSError: The system refuses, or the file ends before.
        """
        self._transfer(self._read_some, offset, buffers)

    def expect(self, offset: int, num_bytes: int) -> None:
        """Say what will be read soon, so that a disk fetches many places at once. Only advice."""
        if hasattr(os, "posix_fadvise"):
            with contextlib.suppress(OSError):
                os.posix_fadvise(self._descriptor, offset, num_bytes, os.POSIX_FADV_WILLNEED)

    def check_open(self) -> None:
        """Refuse to go on with a closed file, whose descriptor may be another file's by now.

        Raises:
            OutputError: It is closed.
        """
        if not self._end.alive:
            raise OutputError(f"{self._purpose} are gone: the file is closed", where=str(self.folder))

    def close(self) -> None:
        """Give the room back."""
        self._end()

    def _transfer(self, some: Callable[[int, Buffers], int], offset: int, buffers: Buffers) -> None:
        """Go on until all is done: the system may do less than asked; interrupted calls Python repeats."""
        rest = [buffer for buffer in buffers if len(buffer)]
        at = 0
        while at < len(rest):
            done = some(offset, rest[at : at + MOST_BUFFERS])
            if done <= 0:
                raise OSError(errno.EIO, f"the file ends at byte {offset}")
            offset += done
            while at < len(rest) and done >= len(rest[at]):
                done -= len(rest[at])
                at += 1
            if done:
                rest[at] = rest[at][done:]

    def _write_some(self, offset: int, buffers: Buffers) -> int:
        if hasattr(os, "pwritev"):
            return os.pwritev(self._descriptor, buffers, offset)
        with self._position:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            return os.write(self._descriptor, buffers[0])

    def _read_some(self, offset: int, buffers: Buffers) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._descriptor, buffers, offset)
        with self._position:
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            with open(self._descriptor, "rb", buffering=0, closefd=False) as raw:
                return raw.readinto(buffers[0]) or 0

    def _reserve(self, num_bytes: int) -> None:
        """Take the room now, or where that cannot be done, see that it is free."""
        if not num_bytes:
            return
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(self._descriptor, 0, num_bytes)
            except OSError as error:
                if error.errno not in CANNOT_RESERVE:
                    raise
                log.info("room on the disk of %s cannot be reserved: %s", self.folder, error.strerror)
            else:
                return
        if shutil.disk_usage(self.folder).free < num_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _no_file(self, error: OSError) -> OutputError:
        return OutputError(
            f"no file for {self._purpose} can be made: {error.strerror}",
            where=str(self.folder),
            hint="choose another folder with --out",
        )

    def _no_room(self, num_bytes: int, error: OSError) -> OutputError:
        free = shutil.disk_usage(self.folder).free  # all that was taken is given back by now
        return OutputError(
            f"{self._purpose} take {_size(num_bytes)}, {_size(free)} are free: {error.strerror}",
            where=str(self.folder),
            hint="a smaller --disk-budget, or --out on another disk",
        )


def _close(descriptor: int, left: str | None) -> None:
    os.close(descriptor)
    if left is not None:
        Path(left).unlink(missing_ok=True)


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.1f} GiB" if num_bytes >= 2**30 / 10 else f"{num_bytes / 2**20:.1f} MiB"
