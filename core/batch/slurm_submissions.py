"""Which jobs were handed in to SLURM, and under which ids: files that exactly one process makes.

    <out>/.batch/.slurm/1.json       a submission begins: its jobs, and who submits them
    <out>/.batch/.slurm/1.ids.json   it is in: SLURM's id of every job
    <out>/.batch/.slurm/2.json       the next one
    <out>/.batch/.slurm/tasks/       what submitit writes: scripts, pickles, the logs of starting

Nothing is removed or changed. A submission without ids is being made, or its process has died.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from core.batch.exclusive import create_exclusively
from core.batch.loader import Batch
from core.batch.process import ProcessId
from core.errors import InputError

_BEGUN = re.compile(r"(\d+)\.json")
_PATIENCE_S = 300.0
"""How long a submission may take on a machine whose processes cannot be seen from here."""


def slurm_folder(batch: Batch) -> Path:
    """Where a batch keeps what concerns SLURM; no job's name begins with a dot."""
    return batch.state / ".slurm"


def tasks_folder(batch: Batch) -> Path:
    """Where submitit writes."""
    return slurm_folder(batch) / "tasks"


class Submission:
    """One `worldkv batch submit`, from its begin until SLURM has the jobs."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def begin(cls, batch: Batch, jobs: Sequence[str], *, seen: int | None = None) -> Submission:
        """Let nobody else submit jobs of the batch meanwhile.

        Args:
            batch: The batch.
            jobs: Names of the jobs.
            seen: `newest_number` before the jobs were chosen; None: whatever was submitted since.

        Raises:
            InputError: Somebody else is submitting.
            OutputError: The state of the batch cannot be written.
        """
        folder = slurm_folder(batch)
        number = newest_number(batch)
        busy = number > 0 and _is_being_made(folder, number)
        busy |= seen is not None and seen != number
        record = {**asdict(ProcessId.mine()), "begun": time.time(), "jobs": list(jobs)}
        path = folder / f"{number + 1}.json"
        if busy or not create_exclusively(path, json.dumps(record) + "\n"):
            hint = "wait a moment; what is queued is not submitted twice"
            raise InputError("somebody else is submitting this batch", where=str(folder), hint=hint)
        return cls(path)

    def end(self, ids: Mapping[str, str]) -> None:
        """Note SLURM's ids by the jobs' names.

        Raises:
            OutputError: The state of the batch cannot be written.
        """
        create_exclusively(self._path.with_suffix(".ids.json"), json.dumps(dict(ids)) + "\n")


def newest_number(batch: Batch) -> int:
    """Number of the newest submission, from 1; 0 if there is none."""
    return max(_numbers(slurm_folder(batch)), default=0)


def read_submissions(batch: Batch) -> dict[str, str]:
    """SLURM's newest id of every job that was ever submitted, by its name."""
    folder, ids = slurm_folder(batch), dict[str, str]()
    for number in sorted(_numbers(folder)):
        with suppress(OSError, ValueError, TypeError):
            ids |= json.loads((folder / f"{number}.ids.json").read_bytes())
    return ids


def _numbers(folder: Path) -> Iterator[int]:
    for path in folder.glob("*.json"):
        match = _BEGUN.fullmatch(path.name)
        if match is not None:
            yield int(match[1])


def _is_being_made(folder: Path, number: int) -> bool:
    """Whether somebody still waits for SLURM's ids."""
    if (folder / f"{number}.ids.json").exists():
        return False
    try:
        record = json.loads((folder / f"{number}.json").read_bytes())
        process = ProcessId.from_record(record)
        begun = float(record["begun"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return process.lives if process.is_near else time.time() - begun < _PATIENCE_S
