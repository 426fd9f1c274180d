"""What has become of jobs, with what SLURM knows beside what the run folders say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from core.batch.loader import Batch
from core.batch.slurm_queue import Entry, look_up
from core.batch.slurm_submissions import read_submissions
from core.batch.state import STATES, JobStatus, State

ShownState = State | Literal["queued", "requeued"]
"""A waiting job is "queued" if SLURM has it, and "requeued" if SLURM has run it before."""

SHOWN_STATES: tuple[ShownState, ...] = ("waiting", "queued", "requeued", *STATES[1:])


def entries_of(batch: Batch, statuses: Sequence[JobStatus]) -> dict[str, Entry]:
    """SLURM's entries of jobs that were ever submitted, by name; of what is done only the id.

    Raises:
        WorldKVError: SLURM cannot be asked.
    """
    ids = read_submissions(batch)
    names = [status.job.name for status in statuses if status.job.name in ids]
    open_names = {status.job.name for status in statuses if status.state != "done"}
    found = look_up([ids[name] for name in names if name in open_names])
    return {name: found.get(ids[name], Entry(ids[name], "")) for name in names}


def shown_state(status: JobStatus, entry: Entry | None) -> ShownState:
    """State of a job, for people."""
    if status.state != "waiting" or entry is None or not entry.is_live:
        return status.state
    if entry.phase == "running":
        return "running"  # it is starting, or about to leave
    return "requeued" if entry.restarts else "queued"


def is_lost(status: JobStatus, entry: Entry | None) -> bool:
    """Whether a job was submitted, is not done, and is nowhere any more: killed, timed out, or forgotten."""
    return status.state == "waiting" and entry is not None and not entry.is_live


def shown_counts(statuses: Iterable[JobStatus], entries: Mapping[str, Entry]) -> dict[ShownState, int]:
    """How many jobs are in which state; SLURM's are left out where nothing was submitted."""
    found = Counter(shown_state(status, entries.get(status.job.name)) for status in statuses)
    return {state: found[state] for state in (SHOWN_STATES if entries else STATES)}
