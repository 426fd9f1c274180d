"""The run folder: who may write into it, and how files get there whole."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO

from core.errors import InputError, OutputError

RUNS = Path("runs")
"""Where runs go when no folder is named."""

RUN_FILES = ("run.json", "chunks.jsonl", "views.jsonl", "video.mp4", "video.partial.mp4", "report.html")
RUN_FOLDERS = ("snapshot",)
_LOCK = ".lock"
_MAX_NAME = 50  # characters; a file system may count four bytes for each
_HINT = "choose another --out"


class RunFolder:
    """A folder that one run owns while it lasts. Use `create`; leaving the `with` block gives it up.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock: int | None = lock

    @classmethod
    def create(
        cls, out: Path | None, name: str, *, overwrite: bool = False, now: datetime | None = None
    ) -> RunFolder:
        """Make the folder, or take over an empty one.

        Args:
            out: The folder; None for `runs/<name>-<time>`, counted on if two runs start in one second.
            name: What the run is of, for the default folder's name; it may come from a stranger's file.
            overwrite: Whether an earlier run in `out` is removed. Only files that a run of ours leaves are
                removed, and only where a run log shows that there was one.
            now: The time for the default folder's name.

        Raises:
            InputError: The folder is taken, not empty, or cannot be made.
        """
        if out is None:
            return cls._create_default(name, now or datetime.now())
        path = _make_folder(out)
        folder = cls(path, _take_lock(path))
        try:
            folder._clear(overwrite=overwrite)
        except BaseException:
            folder.close()
            raise
        return folder

    @classmethod
    def reopen(cls, path: Path) -> RunFolder:
        """Take over a folder with what it holds.

        Raises:
            InputError: Another process holds it, or it cannot be written.
        """
        return cls(path, _take_lock(path))

    @property
    def video(self) -> Path:
        """The video."""
        return self.path / "video.mp4"

    @property
    def log(self) -> Path:
        """The run log, with everything."""
        return self.path / "run.json"

    @property
    def chunks(self) -> Path:
        """One record a chunk, written as the run goes."""
        return self.path / "chunks.jsonl"

    @property
    def views(self) -> Path:
        """Cameras and kept tokens, one line a chunk."""
        return self.path / "views.jsonl"

    @property
    def snapshot(self) -> Path:
        """Folder of what a resume needs, while the run is unfinished."""
        return self.path / "snapshot"

    def close(self) -> None:
        """Let other processes have the folder."""
        if self._lock is not None:
            with contextlib.suppress(OSError):
                (self.path / _LOCK).unlink()
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @classmethod
    def _create_default(cls, name: str, now: datetime) -> RunFolder:
        plain = re.sub(r"[^\w.-]+", "-", name)[:_MAX_NAME].strip("-.") or "run"
        stem = f"{plain}-{now:%Y%m%d-%H%M%S}"
        for count in range(1, 1000):
            path = RUNS / (stem if count == 1 else f"{stem}-{count}")
            try:
                RUNS.mkdir(parents=True, exist_ok=True)
                path.mkdir()
            except FileExistsError:
                if not RUNS.is_dir():
                    raise InputError("this is a file, not a folder", where=str(RUNS), hint=_HINT) from None
                continue
            except OSError as error:
                raise _cannot_make(path, error) from error
            return cls(path, _take_lock(path))
        raise InputError("a thousand runs started in one second", where=str(RUNS / stem), hint=_HINT)

    def _clear(self, *, overwrite: bool) -> None:
        found = sorted(entry.name for entry in self.path.iterdir() if entry.name != _LOCK)
        if found and not overwrite:
            listed = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
            raise InputError(
                f"the output folder is not empty: {listed}",
                where=str(self.path),
                hint="--overwrite replaces an earlier run, or choose another --out",
            )
        ours = [name for name in found if name in (*RUN_FILES, *RUN_FOLDERS)]
        if ours and not _holds_a_run(self.path):
            problem = f"the output folder has a {ours[0]} that no run of worldkv left"
            raise InputError(problem, where=str(self.path), hint=_HINT)
        for name in ours:
            entry = self.path / name
            if name in RUN_FOLDERS and entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[IO[str]]:
    """A UTF-8 text file that appears at `path` complete, or not at all.

    Raises:
        OutputError: It cannot be written, for example on a full disk; an older file at `path` is untouched.
    """
    temporary: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="\n", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = Path(file.name)
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # tempfile makes private files
        temporary.replace(path)
        temporary = None
    except OSError as error:
        hint = "free some space, or choose another --out"
        raise OutputError(
            f"{path.name} cannot be written: {error.strerror}", where=str(path), hint=hint
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_atomic(path: Path, text: str) -> None:
    """Put `text` at `path`, whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    with atomic_file(path) as file:
        file.write(text)


def _make_folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
        path.stat()
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError("a folder was expected, this is a file", where=str(path), hint=_HINT) from error
    except OSError as error:
        raise _cannot_make(path, error) from error
    return path


def _cannot_make(path: Path, error: OSError) -> InputError:
    return InputError(f"the output folder cannot be made: {error.strerror}", where=str(path), hint=_HINT)


def _holds_a_run(path: Path) -> bool:
    """Whether the first words of a run log are there."""
    for name, key in (("run.json", '"schema_version"'), ("chunks.jsonl", '"chunk"')):
        with contextlib.suppress(OSError), (path / name).open("rb") as file:
            head = file.read(4096)
            if key.encode() in head or (name == "chunks.jsonl" and not head):
                return True
    return False


def _take_lock(folder: Path) -> int:
    """Hold `folder` for this process; the lock goes with the process, however that ends.

    Raises:
        InputError: Another process holds it, or no file can be made in it.
    """
    path = folder / _LOCK
    while True:
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            problem = f"the output folder cannot be written: {error.strerror}"
            raise InputError(problem, where=str(folder), hint=_HINT) from error
        if not _try_lock(lock):
            os.close(lock)
            raise InputError("another run is writing to this folder", where=str(folder), hint=_HINT)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), path.stat()):
                return lock
        os.close(lock)  # its last holder removed the file between our two steps: try the new one


if sys.platform == "win32":

    def _try_lock(lock: int) -> bool:
        import msvcrt

        try:
            msvcrt.locking(lock, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:

    def _try_lock(lock: int) -> bool:
        import fcntl

        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
