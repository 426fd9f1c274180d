"""How much host memory there is: the machine's, or less where a container (cgroup v1 or v2) limits it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
CGROUPS: Final = Path("/sys/fs/cgroup")

NO_LIMIT: Final = 1 << 60
"""From here on a number stands for "no limit", which cgroup v1 writes as nearly 2**63."""


@dataclass(frozen=True)
class HostMemory:
    """Host memory of this process; None where the system does not tell.

    Attributes:
        total_bytes: What it may hold at the most.
        available_bytes: What it can still take without swapping or being killed.
        limited_by: The file of the limit, where there is one below what the machine has.
    """

    total_bytes: int | None
    available_bytes: int | None
    limited_by: Path | None = None


@dataclass(frozen=True)
class _Files:
    """How a version of cgroups calls its files."""

    limit: str
    used: str
    cache: str


_V1: Final = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2: Final = _Files("memory.max", "memory.current", "inactive_file")


def host_memory(proc: Path = PROC, cgroups: Path = CGROUPS) -> HostMemory:
    """What there is now.

    Args:
        proc: Where the kernel tells of processes and memory.
        cgroups: Where it tells of limits.
    """
    told = _meminfo(proc / "meminfo")
    found = HostMemory(told.get("MemTotal"), told.get("MemAvailable"))
    for folder, files in _groups(proc / "self" / "cgroup", cgroups):
        limit = _number(folder / files.limit)
        if limit is None or limit >= min(NO_LIMIT, found.total_bytes or NO_LIMIT):
            continue
        used, cache = _number(folder / files.used) or 0, _stat(folder / "memory.stat", files.cache)
        left = max(0, limit - max(0, used - cache))
        available = left if found.available_bytes is None else min(left, found.available_bytes)
        found = HostMemory(limit, available, folder / files.limit)
    return found


def _groups(told: Path, cgroups: Path) -> Iterator[tuple[Path, _Files]]:
    """Folders of the groups that the process is in, from the outermost; a limit holds for all inside."""
    for line in _lines(told):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            mount, files = cgroups, _V2
        elif "memory" in controllers.split(","):
            mount, files = cgroups / "memory", _V1
        else:
            continue
        inner = Path(path.lstrip("/"))
        for folder in (*reversed(inner.parents), inner):
            if (mount / folder / files.limit).is_file():  # in a container, the mount may begin at its group
                yield mount / folder, files


def _meminfo(path: Path) -> dict[str, int]:
    words = (line.split() for line in _lines(path))
    return {each[0].rstrip(":"): int(each[1]) * 1024 for each in words if len(each) == 3}


def _number(path: Path) -> int | None:
    """The number in a file; None for "max", and where there is none."""
    text = " ".join(_lines(path))
    return int(text) if text.isdecimal() else None


def _stat(path: Path, name: str) -> int:
    words = (line.split() for line in _lines(path))
    return next((int(each[1]) for each in words if each[:1] == [name] and len(each) == 2), 0)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
