"""Many errors at once, numbered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from core.errors import WorldKVError
from worldkv_cli.console import print_error, print_json

if TYPE_CHECKING:
    from core.batch.problems import Problem

_SHOWN_JOBS = 3


@contextmanager
def manifest_errors(*, as_json: bool = False) -> Iterator[None]:
    """Tell everything that is wrong with a manifest, not the first thing only."""
    from core.batch.problems import ManifestError

    try:
        yield
    except ManifestError as error:
        if as_json:
            print_json({"ok": False, "problems": [asdict(problem) for problem in error.problems]})
        print_problems(error.problems)
        raise SystemExit(error.exit_code) from None


def print_problems(problems: Sequence[Problem]) -> None:
    """Problems in three lines each, with a number if there are several."""
    for number, problem in enumerate(problems, start=1):
        counted = f"{number} of {len(problems)}: " if len(problems) > 1 else ""
        text = f"{counted}{problem.problem}{_concerned(problem.jobs)}"
        print_error(WorldKVError(text, where=problem.where, hint=problem.hint))


def _concerned(jobs: Sequence[str]) -> str:
    if not jobs:
        return ""
    named = ", ".join(jobs[:_SHOWN_JOBS])
    more = f" and {len(jobs) - _SHOWN_JOBS} more" if len(jobs) > _SHOWN_JOBS else ""
    return f" ({named}{more})"
