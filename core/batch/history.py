"""The attempts at a job: who has it, who had it, and how that ended.

    <out>/.batch/<job>/1.json       made exclusively: the first attempt's claim; its time is the heartbeat
    <out>/.batch/<job>/1.end.json   how it ended, written by who made the claim
    <out>/.batch/<job>/2.json       the next attempt
    <out>/.batch/<job>/cancelled    nobody is to start it
    <out>/.batch/<job>/forgiven     the number of the last attempt that does not count any more

A claim is never removed and never changes hands: who takes over from a dead process makes the next number,
which exactly one can, and a process that was only asleep sees the higher number and ends. So there is no
moment at which two believe to have a job, and no lock to clean up.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from core.batch.exclusive import create_exclusively
from core.batch.process import ProcessId
from core.errors import WorldKVError
from core.outputs import write_atomic
from trajectories.errors import TrajectoryError

HEARTBEAT_S = 15.0
"""How often a process says that it lives."""
STALE_S = 180.0
"""Silence after which a process on another machine counts as dead; NFS may show times a minute late."""

Outcome = Literal["done", "failed", "interrupted", "cancelled", "unwritable"]

_CLAIM = re.compile(r"(\d+)\.json")


@dataclass(frozen=True)
class End:
    """How an attempt ended.

    Attributes:
        outcome: In a word. Only "failed" counts against the retries; "unwritable": the disk took no more.
        at: When, ISO 8601.
        problem: What went wrong; empty if nothing did.
        where: Place of that.
        hint: Its cure.
        exit_code: Of the error; 0 without one.
    """

    outcome: Outcome
    at: str
    problem: str = ""
    where: str = ""
    hint: str = ""
    exit_code: int = 0

    @classmethod
    def now(cls, outcome: Outcome, error: BaseException | None = None) -> End:
        """An attempt that has just ended."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        if error is None:
            return cls(outcome, at)
        if isinstance(error, WorldKVError | TrajectoryError):
            return cls(outcome, at, error.problem, error.where, error.hint, error.exit_code)
        return cls(outcome, at, f"{type(error).__name__}: {error}", exit_code=1)

    @property
    def is_final(self) -> bool:
        """Whether another attempt would end alike: bad input stays bad."""
        return self.outcome == "failed" and self.exit_code == 2


@dataclass(frozen=True)
class Attempt:
    """One attempt at a job.

    Attributes:
        number: Counts from 1.
        path: Its claim.
        process: Who made it.
        identity: Of the settings that it is for.
        started_at: When, ISO 8601.
        beat: Time of the last heartbeat, by the file system's clock.
        end: How it ended; None if nobody has said so.
    """

    number: int
    path: Path
    process: ProcessId
    identity: str
    started_at: str
    beat: float
    end: End | None

    def lives(self, now: float, stale_s: float = STALE_S) -> bool:
        """Whether somebody is at it. On this machine the process itself tells, elsewhere its heartbeat.

        Args:
            now: The file system's time.
            stale_s: Silence after which another machine's process counts as dead.
        """
        if self.end is not None:
            return False
        return self.process.lives if self.process.is_near else now - self.beat < stale_s


@dataclass(frozen=True)
class History:
    """What is known of a job's attempts.

    Attributes:
        folder: Where it stands.
        attempts: Oldest first.
        cancelled: Whether nobody is to start it.
        forgiven: Number of the last attempt that does not count any more.
    """

    folder: Path
    attempts: tuple[Attempt, ...] = ()
    cancelled: bool = False
    forgiven: int = 0

    @property
    def newest(self) -> Attempt | None:
        """The last attempt."""
        return self.attempts[-1] if self.attempts else None

    def counted(self, identity: str) -> tuple[Attempt, ...]:
        """Attempts that count: those at the same settings that nobody has forgiven."""
        return tuple(a for a in self.attempts if a.number > self.forgiven and a.identity == identity)

    def claim(self, identity: str) -> Attempt | None:
        """Take the job; None if somebody else was faster.

        Raises:
            OutputError: The state cannot be written.
        """
        number = self.attempts[-1].number + 1 if self.attempts else 1
        mine = ProcessId.mine()
        started_at = datetime.now(UTC).isoformat(timespec="seconds")
        record = {**asdict(mine), "identity": identity, "started_at": started_at}
        path = self.folder / f"{number}.json"
        if not create_exclusively(path, json.dumps(record) + "\n"):
            return None
        return Attempt(number, path, mine, identity, started_at, path.stat().st_mtime, None)


def read_history(folder: Path) -> History:
    """The attempts at a job, from its state folder."""
    try:
        names = [entry.name for entry in os.scandir(folder)]
    except FileNotFoundError:
        return History(folder)
    numbers = sorted(int(match[1]) for match in map(_CLAIM.fullmatch, names) if match)
    attempts = tuple(_read_attempt(folder, number, ended=f"{number}.end.json" in names) for number in numbers)
    forgiven = 0
    if "forgiven" in names:
        with suppress(ValueError, OSError):
            forgiven = int((folder / "forgiven").read_text())
    return History(folder, attempts, "cancelled" in names, forgiven)


def write_end(attempt: Attempt, end: End) -> None:
    """Say how an attempt ended.

    Raises:
        OutputError: The state cannot be written.
    """
    write_atomic(attempt.path.with_suffix(".end.json"), json.dumps(asdict(end)) + "\n")


def is_superseded(attempt: Attempt) -> bool:
    """Whether somebody took over, believing this process dead."""
    return attempt.path.with_name(f"{attempt.number + 1}.json").exists()


def cancel(folder: Path) -> None:
    """Let nobody start the job; who is at it stops after its chunk.

    Raises:
        OutputError: The state cannot be written.
    """
    create_exclusively(folder / "cancelled", "")


def is_cancelled(folder: Path) -> bool:
    """Whether somebody has cancelled the job."""
    return (folder / "cancelled").exists()


def forgive(history: History) -> None:
    """Let past attempts count no more, and take back a cancellation.

    Raises:
        OutputError: The state cannot be written.
    """
    if history.newest is not None:
        write_atomic(history.folder / "forgiven", str(history.newest.number))
    (history.folder / "cancelled").unlink(missing_ok=True)


def _read_attempt(folder: Path, number: int, *, ended: bool) -> Attempt:
    path = folder / f"{number}.json"
    record: Mapping[str, Any] = {}
    beat = math.inf  # a claim that cannot be read now may be somebody's all the same
    with suppress(OSError, ValueError), path.open("rb") as file:  # opening makes NFS look at the server
        beat = os.fstat(file.fileno()).st_mtime
        record = json.load(file)
    try:
        process = ProcessId.from_record(dict(record))
    except (KeyError, TypeError, ValueError):
        process = ProcessId("?", "?", 0, "?")  # damaged: its heartbeat alone tells
    end = _read_end(path.with_suffix(".end.json")) if ended else None
    identity, started_at = str(record.get("identity", "")), str(record.get("started_at", ""))
    return Attempt(number, path, process, identity, started_at, beat, end)


def _read_end(path: Path) -> End:
    """How an attempt ended; a damaged file still says that it did."""
    try:
        return End(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return End("interrupted", "", "how the attempt ended cannot be read", str(path))
