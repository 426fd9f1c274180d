"""Every error that a user can cause, in one tree.

    WorldKVError            exit 1   something went wrong while running
    |-- InputError          exit 2   bad usage or input, found before weights load
    |-- BudgetError         exit 3   does not fit the memory budget
    |-- ModelFilesError     exit 4   model files missing or wrong
    `-- OutputError         exit 1   the output cannot be written (full disk, ffmpeg missing)

Each says what is wrong, where, and how to mend it; the command line prints exactly these three lines.
"""

from __future__ import annotations

from typing import ClassVar


class WorldKVError(Exception):
    """An error with a cure.

    Args:
        problem: What is wrong, with the offending value. No full stop.
        where: The flag, file, or key at fault; empty if there is no such place.
        hint: How to mend it; empty if nothing useful can be said.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, problem: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.hint = hint


class InputError(WorldKVError):
    """Bad usage or bad input."""

    exit_code = 2


class BudgetError(WorldKVError):
    """The rollout does not fit the memory budget."""

    exit_code = 3


class ModelFilesError(WorldKVError):
    """Model files are missing, incomplete or not what they should be."""

    exit_code = 4


class OutputError(WorldKVError):
    """The result cannot be written."""
