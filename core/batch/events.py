"""What is told while a batch runs."""

from __future__ import annotations

from dataclasses import dataclass

from core.batch.history import End


@dataclass(frozen=True)
class Started:
    """A job has been claimed and planned, and begins.

    Attributes:
        job: Its name.
        worker: Who does it, for people.
        attempt: Which attempt it is, from 1.
        first_chunk: Where it goes on.
        num_chunks: Chunks of the whole rollout.
    """

    job: str
    worker: str
    attempt: int
    first_chunk: int
    num_chunks: int


@dataclass(frozen=True)
class Loading:
    """A job's weights are being loaded: what, bytes done, bytes in all (0 where nobody can tell)."""

    job: str
    what: str
    done_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class Advanced:
    """Chunks of a job are finished.

    Attributes:
        job: Its name.
        done_chunks: How many in all.
        num_frames: Video frames of them.
    """

    job: str
    done_chunks: int
    num_frames: int


@dataclass(frozen=True)
class Ended:
    """A job has ended.

    Attributes:
        job: Its name.
        end: How; None if it was not begun, because somebody else has it.
        num_loads: How often weights were loaded for it; 0 if its worker still had them.
    """

    job: str
    end: End | None
    num_loads: int = 0


@dataclass(frozen=True)
class WorkerLost:
    """A worker has died: the job that it was at, and how it died."""

    job: str
    how: str


Event = Started | Loading | Advanced | Ended | WorkerLost
