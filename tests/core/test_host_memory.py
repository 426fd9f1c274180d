"""Limits of containers, as the kernel tells of them."""

from pathlib import Path

import pytest

from core.host_memory import HostMemory, host_memory

MIB = 1 << 20


@pytest.fixture
def machine(tmp_path: Path) -> tuple[Path, Path]:
    """64 MiB, 40 of them free; no limits."""
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    write(proc / "meminfo", "MemTotal: 65536 kB\nMemAvailable: 40960 kB\nHugePages_Total: 0\n")
    write(proc / "self" / "cgroup", "0::/app/inner\n")
    cgroups.mkdir()
    return proc, cgroups


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_no_limit(machine: tuple[Path, Path]) -> None:
    assert host_memory(*machine) == HostMemory(64 * MIB, 40 * MIB)
    write(machine[1] / "app" / "memory.max", "max\n")
    assert host_memory(*machine) == HostMemory(64 * MIB, 40 * MIB)


def test_the_smallest_limit_of_version_2_holds(machine: tuple[Path, Path]) -> None:
    proc, cgroups = machine
    write(cgroups / "app" / "memory.max", f"{32 * MIB}\n")
    write(cgroups / "app" / "memory.current", f"{30 * MIB}\n")
    write(cgroups / "app" / "memory.stat", f"anon 5\ninactive_file {10 * MIB}\n")
    write(cgroups / "app" / "inner" / "memory.max", f"{16 * MIB}\n")
    write(cgroups / "app" / "inner" / "memory.current", "0\n")
    found = host_memory(proc, cgroups)
    assert found == HostMemory(16 * MIB, 12 * MIB, cgroups / "app" / "inner" / "memory.max")


def test_a_limit_of_version_1_where_the_mount_begins_at_the_group(machine: tuple[Path, Path]) -> None:
    proc, cgroups = machine
    write(proc / "self" / "cgroup", "9:cpu:/\n4:memory:/docker/abc\n0::/\n")
    write(cgroups / "memory" / "memory.limit_in_bytes", f"{8 * MIB}\n")
    write(cgroups / "memory" / "memory.usage_in_bytes", f"{3 * MIB}\n")
    write(cgroups / "memory" / "memory.stat", f"total_inactive_file {MIB}\n")
    limit = cgroups / "memory" / "memory.limit_in_bytes"
    assert host_memory(proc, cgroups) == HostMemory(8 * MIB, 6 * MIB, limit)
    limit.write_text("9223372036854771712\n")
    assert host_memory(proc, cgroups).limited_by is None


def test_nothing_is_told(tmp_path: Path) -> None:
    assert host_memory(tmp_path, tmp_path) == HostMemory(None, None)
