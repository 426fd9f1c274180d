"""Every error that a trajectory can cause, in one tree.

    TrajectoryError        exit 2
    |-- SourceError        no such trajectory, or the file cannot be read: missing, binary, too large
    |-- YamlError          not the YAML that we accept: syntax, duplicate keys, aliases out of hand
    |-- SchemaError        a key is unknown, missing, or holds the wrong kind of value
    `-- MotionError        the keys are right but the motion is not: unknown mark, too many frames, no frames

Each says what is wrong, where (file, line, column, key) and how to mend it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class TrajectoryError(Exception):
    """An error in a trajectory, with its place and its cure.

    Args:
        problem: What is wrong, with the offending value. No full stop.
        where: `file:line:column (key)`, as far as known.
        hint: How to mend it; empty if nothing useful can be said.
        also: Further errors of the same file, found in the same pass.
    """

    exit_code: ClassVar[int] = 2

    def __init__(
        self,
        problem: str,
        *,
        where: str = "",
        hint: str = "",
        also: Iterable[TrajectoryError] = (),
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.hint = hint
        self.also: tuple[TrajectoryError, ...] = tuple(also)


class SourceError(TrajectoryError):
    """The trajectory cannot be found or read."""


class YamlError(TrajectoryError):
    """The text is not acceptable YAML."""


class SchemaError(TrajectoryError):
    """A key or a value is not what the language expects."""


class MotionError(TrajectoryError):
    """The motion that the file describes cannot be made."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was most likely meant, or None.

    The same stem with another unit (`yaw`, `yaw_rad`: `yaw_deg`) counts as nearer than any other spelling.
    """
    candidates = list(known)
    stem = word.lower().split("_")[0]
    same_stem = [candidate for candidate in candidates if stem and candidate.split("_")[0] == stem]
    if len(same_stem) == 1:
        return same_stem[0]
    matches = difflib.get_close_matches(word.lower(), candidates, n=1, cutoff=0.55)
    return matches[0] if matches else None
