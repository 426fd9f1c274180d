"""The name of this machine's processor."""

from __future__ import annotations

import platform
from pathlib import Path


def cpu_model() -> str:
    """As its maker calls it, where the system tells."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
