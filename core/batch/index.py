"""batch.jsonl: one line a job, so that a thousand run logs need not be read to know how things stand.

It is an index and nothing more. Every line carries the stamp of the run.json that it was made from and counts
only while that file is the same; a line that is missing or damaged is made again. It is written in one step,
by whoever has looked last, and two writers at once write the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from core.batch.loader import Batch, BatchJob
from core.batch.results import Result, read_result, stamp_of
from core.outputs import write_atomic
from core.schemas.run import RunSummary

INDEX = "batch.jsonl"


class Index:
    """Run logs by job.

    Args:
        path: The file.
        rebuild: Whether what stands there is not looked at.
    """

    def __init__(self, path: Path, *, rebuild: bool = False) -> None:
        self.path = path
        self._lines = {} if rebuild else _read_lines(path)
        self._results: dict[str, Result] = {}

    @classmethod
    def of(cls, batch: Batch, *, rebuild: bool = False) -> Index:
        """The index of a batch."""
        return cls(batch.out / INDEX, rebuild=rebuild)

    def summary(self, job: BatchJob) -> RunSummary | None:
        """The run log of a job without its chunks; None if there is none.

        Raises:
            InputError: It is damaged.
        """
        stamp = stamp_of(job.folder)
        known = self._results.get(job.name) or self._from_line(job)
        if known is None or known.stamp != stamp:
            self._results.pop(job.name, None)
            known = read_result(job.folder)
        if known is None:
            return None
        self._results[job.name] = known
        return known.summary

    def write(self, states: Iterable[tuple[str, str]], *, keep_others: bool = False) -> None:
        """Put down what has been seen.

        Args:
            states: Names of jobs and their states.
            keep_others: Whether lines of other jobs stay; without, they are of no job of the batch.

        Raises:
            OutputError: It cannot be written.
        """
        lines = []
        for name, state in states:
            self._lines.pop(name, None)
            line: dict[str, Any] = {"job": name, "state": state}
            result = self._results.get(name)
            if result is not None:
                line |= {"stamp": result.stamp, "run": result.summary.model_dump(mode="json")}
            lines.append(json.dumps(line) + "\n")
        if keep_others:
            lines += [json.dumps(line) + "\n" for line in self._lines.values()]
        write_atomic(self.path, "".join(lines))

    def _from_line(self, job: BatchJob) -> Result | None:
        line = self._lines.pop(job.name, None)
        if line is None or "run" not in line:
            return None
        with suppress(ValidationError, TypeError, ValueError):
            time_ns, size, number = line["stamp"]
            return Result((time_ns, size, number), RunSummary.model_validate(line["run"]))
        return None


def _read_lines(path: Path) -> dict[str, dict[str, Any]]:
    found = {}
    with suppress(OSError), path.open("rb") as file:
        for text in file:
            with suppress(ValueError, KeyError, TypeError):  # made again from the run folder
                line = json.loads(text)
                found[str(line["job"])] = dict(line)
    return found
