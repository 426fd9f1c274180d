"""Parts of a model in a list of folders, by name; nothing is opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from core.errors import ModelFilesError


def first_of(folders: Iterable[Path], names: Iterable[str]) -> Path | None:
    """The first of these files, or folders that hold something; a folder's names are tried in turn."""
    names = tuple(names)
    for folder in folders:
        for name in names:
            path = folder / name
            if path.is_file() or (path.is_dir() and any(path.iterdir())):
                return path
    return None


def holds(folder: Path, patterns: Iterable[str]) -> bool:
    """Whether a folder is there and has a file of such a name."""
    if not folder.is_dir():
        return False
    patterns = tuple(patterns)
    return any(fnmatchcase(file.name, pattern) for file in folder.iterdir() for pattern in patterns)


@contextmanager
def searching() -> Iterator[None]:
    """Folders that may not be read are an error of the user's, not a bug.

    Raises:
        ModelFilesError: A folder cannot be searched.
    """
    try:
        yield
    except OSError as error:
        problem = f"a folder cannot be searched: {error.strerror}"
        raise ModelFilesError(problem, where=str(error.filename or "")) from None
