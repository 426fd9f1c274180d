"""Files that exactly one process makes, and clocks, on file systems that several machines share.

Nothing here locks: `flock` is not told to other machines by every NFS. What NFS promises is that a hard link
is made or refused as a whole, and that a rename is seen as a whole.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from core.errors import OutputError

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def create_exclusively(path: Path, text: str) -> bool:
    """Make a file with its content, unless it exists.

    The content is written beside it and linked to the name: others see the file whole or not at all. The
    answer of a link can get lost on its way from the server, so what counts is whether the file then has two
    names.

    Returns:
        Whether this call made it.

    Raises:
        OutputError: The folder cannot be written, for example on a full disk.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _temporary(path, text) as temporary:
            try:
                os.link(temporary, path)
            except OSError as error:
                if error.errno in _NO_LINKS:
                    return _create_without_links(path, text)
                if temporary.stat().st_nlink != 2:
                    if isinstance(error, FileExistsError):
                        return False
                    raise
            return True
    except OSError as error:
        raise state_error(path, error) from error


def folder_time(folder: Path) -> float:
    """Now, by the clock that stamps the files of `folder`, which may be another machine's.

    Raises:
        OutputError: The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b".")
            probe.flush()
            return os.fstat(probe.fileno()).st_mtime
    except OSError as error:
        raise state_error(folder, error) from error


def state_error(path: Path, error: OSError) -> OutputError:
    """The batch cannot note what it does."""
    problem = f"the state of the batch cannot be written: {error.strerror}"
    return OutputError(problem, where=str(path), hint="free some space, then run the batch again")


@contextlib.contextmanager
def _temporary(path: Path, text: str) -> Iterator[Path]:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _create_without_links(path: Path, text: str) -> bool:
    """The same where there are no hard links; a reader may see the file before its content."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return True
