"""What SLURM says of submissions, through its own commands."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from core.batch.executor import Phase
from core.errors import InputError, WorldKVError

_FIELDS = {"JobArrayID": 40, "State": 24, "RestartCnt": 12, "Reason": 80}
_TIMEOUT_S = 60.0
_QUEUED = (
    "PENDING",
    "CONFIGURING",
    "REQUEUED",
    "REQUEUE_FED",
    "REQUEUE_HOLD",
    "SPECIAL_EXIT",
    "RESV_DEL_HOLD",
)
_RUNNING = ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING")
_LEFT = re.compile(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)")


@dataclass(frozen=True)
class Entry:
    """A submission as SLURM knows it.

    Attributes:
        id: Number of the job, or of the array and its task: 12 or 12_3.
        state: In SLURM's words, such as PENDING, RUNNING, TIMEOUT; empty if SLURM has forgotten it.
        reason: Why it is where it is, in SLURM's words; empty if it says nothing.
        restarts: How often it was requeued.
    """

    id: str
    state: str
    reason: str = ""
    restarts: int = 0

    @property
    def phase(self) -> Phase:
        """Where it is."""
        if not self.state:
            return "unknown"
        if self.state in _QUEUED:
            return "queued"
        return "running" if self.state in _RUNNING else "ended"

    @property
    def is_live(self) -> bool:
        """Whether it is yet to end."""
        return self.phase in ("queued", "running")

    def __str__(self) -> str:
        said = f"SLURM {self.id}"
        if self.state:
            said += f" {self.state}"
        if self.reason:
            said += f" ({self.reason})"
        return said


def require_slurm() -> None:
    """See that SLURM's commands are here.

    Raises:
        InputError: They are not.
    """
    missing = [name for name in ("sbatch", "srun", "squeue", "scancel") if shutil.which(name) is None]
    if missing:
        hint = "log in to a node that can submit, or run the batch on this machine: worldkv batch run"
        raise InputError(f"SLURM is not installed here: no {', '.join(missing)}", where="PATH", hint=hint)


def look_up(ids: Sequence[str]) -> dict[str, Entry]:
    """Submissions by their ids; those that SLURM has forgotten, minutes after their end, have no state.

    Raises:
        WorldKVError: SLURM cannot be asked.
    """
    found = {each: Entry(each, "") for each in ids}
    if not found:
        return found
    jobs = ",".join(sorted({each.partition("_")[0] for each in ids}, key=int))
    options = [f"--{name}" for name in ("noheader", "array", "states=all")]
    columns = ",".join(f"{name}:{width}" for name, width in _FIELDS.items())
    told = _ask("squeue", *options, f"--jobs={jobs}", f"--Format={columns}", forgotten="Invalid job id")
    for line in told.splitlines():
        entry = _entry(line)
        if entry.id in found:
            found[entry.id] = entry
    return found


def cancel_ids(ids: Sequence[str]) -> None:
    """Take submissions back, queued or running; SIGTERM lets a running one stop after its chunk.

    Raises:
        WorldKVError: SLURM cannot be asked.
    """
    for first in range(0, len(ids), 500):  # arguments of one command
        _ask("scancel", "--quiet", *ids[first : first + 500])


def time_left_s(job_id: str) -> int | None:
    """Seconds that a running job has left; None without a limit, or if SLURM does not say.

    Raises:
        WorldKVError: SLURM cannot be asked.
    """
    told = _ask("squeue", "--noheader", f"--jobs={job_id}", "--format=%L", forgotten="Invalid job id")
    match = _LEFT.fullmatch(told.strip())
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def max_array_size() -> int:
    """How many tasks an array may have here.

    Raises:
        WorldKVError: SLURM cannot be asked.
    """
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", _ask("scontrol", "show", "config"), re.MULTILINE)
    if match is None:
        raise WorldKVError("SLURM does not say its MaxArraySize", where="scontrol show config")
    return max(int(match[1]), 1)  # 0: arrays are switched off


def _entry(line: str) -> Entry:
    texts, at = [], 0
    for width in _FIELDS.values():
        texts.append(line[at : at + width].strip())
        at += width
    reason = "" if texts[3] in ("None", "(null)") else texts[3]
    return Entry(texts[0], texts[1], reason, int(texts[2]) if texts[2].isdecimal() else 0)


def _ask(*command: str, forgotten: str = "") -> str:
    """Output of a command of SLURM; nothing if it complains of what SLURM has forgotten."""
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
    except FileNotFoundError:
        problem, hint = f"SLURM is not installed here: no {command[0]}", "ask on a node of the cluster"
        raise WorldKVError(problem, where="PATH", hint=hint) from None
    except subprocess.TimeoutExpired:
        problem = f"SLURM does not answer within {_TIMEOUT_S:.0f} s"
        raise WorldKVError(problem, where=command[0], hint="try again later") from None
    if told.returncode != 0 and not (forgotten and forgotten in told.stderr):
        lines = told.stderr.strip().splitlines() or [f"exit code {told.returncode}"]
        raise WorldKVError(f"{command[0]}: {lines[-1]}", where=" ".join(command)[:200])
    return told.stdout
