"""What stands in run folders."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from core.errors import InputError
from core.schemas.run import RunSummary

Stamp = tuple[int, int, int]
"""Time, size and number of a file: it is another one if they differ."""


@dataclass(frozen=True)
class Result:
    """A run log, without its chunks.

    Attributes:
        stamp: Of the file.
        summary: What it says.
    """

    stamp: Stamp
    summary: RunSummary


def stamp_of(folder: Path) -> Stamp | None:
    """Stamp of a folder's run.json; None if there is none."""
    try:
        stat = (folder / "run.json").stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def num_chunks_made(folder: Path) -> int:
    """Chunks that a run has finished so far."""
    try:
        with (folder / "chunks.jsonl").open("rb") as file:
            return sum(line.endswith(b"\n") for line in file)
    except OSError:
        return 0


def read_result(folder: Path) -> Result | None:
    """The run log of a folder, without the records of chunks; None if there is none.

    Raises:
        InputError: It is damaged, or cannot be read.
    """
    path, stamp = folder / "run.json", stamp_of(folder)
    if stamp is None:
        return None
    try:
        data = json.loads(path.read_bytes())
        data.pop("chunks", None)
        return Result(stamp, RunSummary.model_validate(data))
    except OSError as error:
        raise InputError(f"the run log cannot be read: {error.strerror}", where=str(path)) from error
    except (ValueError, AttributeError, TypeError, ValidationError):
        hint = "the job runs again; the damaged folder is kept"
        raise InputError("the run log is damaged", where=str(path), hint=hint) from None
