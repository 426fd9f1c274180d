"""Where a run computes, and how much memory it holds."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import torch

from core.config import GenerateConfig
from core.errors import InputError
from core.placement import Budgets
from core.schemas.run import Device

if sys.platform != "win32":
    import resource

_STATM = Path("/proc/self/statm")


def pick_device(name: str) -> torch.device:
    """The device of a name; `auto` takes a GPU where there is one.

    Raises:
        InputError: The device is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:  # an index beyond what torch can count
        raise _no_device(name) from None
    there = {
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, True):
        raise _no_device(name)
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """The precision of a name; `auto` is bfloat16 on a GPU and float32 elsewhere."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]


def budgets(config: GenerateConfig, device: torch.device) -> Budgets:
    """What the run may take: what the user says, else what is free on a GPU, else anything."""
    host = None if config.ram_budget is None else int(config.ram_budget)
    if config.vram_budget is not None:
        return Budgets(int(config.vram_budget), host)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return Budgets(free, host, device_source=f"what is free on {device}")
    return Budgets(None, host)


def device_info(device: torch.device) -> Device:
    """The device as run.json describes it."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return Device(name=str(device), model=properties.name, total_bytes=properties.total_memory)
    return Device(
        name=str(device),
        model=_cpu_model(),
        total_bytes=_host_total_bytes(),
        threads=torch.get_num_threads(),
    )


def resident_bytes() -> int:
    """Host memory that the process holds now (its peak where the system does not tell)."""
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    if sys.platform == "win32":
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def device_peak_bytes(device: torch.device, engine_bytes: int) -> int:
    """Peak device memory since the last call; on the CPU what the engine's own tensors take."""
    if device.type != "cuda":
        return engine_bytes
    peak = torch.cuda.max_memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return peak


def _no_device(name: str) -> InputError:
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    counted = f"{found} CUDA device{'s' * (found != 1)}" if found else "no CUDA device"
    return InputError(
        f"there is no device {name}: {counted} found",
        where="--device",
        hint="use --device cpu, or see: worldkv doctor",
    )


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _host_total_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
