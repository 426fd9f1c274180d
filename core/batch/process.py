"""Who is at work: a process, so that others on the same machine can tell whether it still lives."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ProcessId:
    """A process, for all time and all machines.

    Attributes:
        host: Name of the machine.
        space: What tells apart whose process numbers mean the same: this boot of the machine, this container.
        pid: Number of the process.
        started: When it started, in the system's own count; a number is used again.
    """

    host: str
    space: str
    pid: int
    started: str

    @classmethod
    def mine(cls) -> ProcessId:
        """This process."""
        return cls(socket.gethostname(), _space(), os.getpid(), _started(os.getpid()))

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> ProcessId:
        """A process as a state file has it."""
        return cls(str(record["host"]), str(record["space"]), int(record["pid"]), str(record["started"]))

    @property
    def is_near(self) -> bool:
        """Whether it is one of this machine, whose end can be seen from here."""
        return os.name == "posix" and (self.host, self.space) == (socket.gethostname(), _space())

    @property
    def lives(self) -> bool:
        """Whether it is still there; only if it is near."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # somebody else's
        return _started(self.pid) == self.started

    def __str__(self) -> str:
        return f"{self.host}, process {self.pid}"


@lru_cache(maxsize=1)
def _space() -> str:
    parts = []
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _started(pid: int) -> str:
    """Start of a process in ticks since boot; empty where the system does not tell, or if it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
