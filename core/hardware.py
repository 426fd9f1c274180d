"""Where a run computes, and how much memory it holds."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import torch

from core.config import GenerateConfig
from core.errors import BudgetError, InputError
from core.host_cpu import cpu_model
from core.host_memory import host_memory
from core.limits import NOTHING_HELD as NOTHING_HELD
from core.limits import Held as Held
from core.limits import cuda_limits, said_limits
from core.placement import Budgets, Placement, gib
from core.schemas.run import Device

if sys.platform != "win32":
    import resource

_STATM = Path("/proc/self/statm")

VIDEO_BYTES = 256 << 20
"""Of disk space that stays for the video and its log."""

CONTEXT_BYTES = 512 << 20
"""Of a GPU's memory that the driver takes beside the allocator, about; part of the reserve."""


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


def budgets(config: GenerateConfig, device: torch.device, held: Held = NOTHING_HELD) -> Budgets:
    """What the run may take: what the user says; else what is free on a GPU and its host, else anything.

    Args:
        config: What the user says.
        device: Where it runs.
        held: What counts as free although this process keeps it.
    """
    asked = said_limits(config)
    if device.type != "cuda":
        return asked
    found = cuda_limits(asked)
    if found.device is None:
        free, _ = torch.cuda.mem_get_info(device)
        found = replace(found, device=free + held.device, device_source=f"what is free on {device}")
    if found.host is None:
        free_host = host_memory().available_bytes
        host = None if free_host is None else free_host + held.host
        found = replace(found, host=host, host_source="what is free in host memory")
    return found


def check_disk(placement: Placement, out: Path | None) -> None:
    """Look whether the disk has room for the bank's part before anything is loaded, and for some video.

    Args:
        placement: What lies on disk.
        out: The run folder, or where it will be made.

    Raises:
        BudgetError: It has not.
    """
    wanted = placement.disk_bytes
    if not wanted:
        return
    folder = (out or Path()).resolve()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if wanted + VIDEO_BYTES > free:
        raise BudgetError(
            f"the bank takes {gib(wanted)} on disk, but only {gib(free)} are free there",
            where=str(folder),
            hint="say a smaller --disk-budget, or choose another --out",
        )


def limit_device(config: GenerateConfig, device: torch.device) -> None:
    """Let a GPU's allocator refuse what exceeds the user's budget, and not that of an earlier run."""
    if device.type != "cuda":
        return
    torch.cuda.set_device(device)  # what names no device, such as pinned memory, belongs to this one
    share = 1.0
    if config.vram_budget is not None:
        total = torch.cuda.get_device_properties(device).total_memory
        share = min(1.0, max(0, int(config.vram_budget) - CONTEXT_BYTES) / total)
    torch.cuda.set_per_process_memory_fraction(share, device)


def check_free(placement: Placement, device: torch.device, held: Held = NOTHING_HELD) -> None:
    """Look whether as much of a GPU is free, or kept by this process, as the run is going to take.

    Raises:
        BudgetError: Others hold too much of it.
    """
    if device.type != "cuda":
        return
    free, total = torch.cuda.mem_get_info(device)
    free += held.device
    if placement.device_bytes > free:
        raise BudgetError(
            f"the run takes {gib(placement.device_bytes)}, but of the {gib(total)} of {device} only "
            f"{gib(free)} are free",
            where="--vram-budget",
            hint="free it, or say what may be taken: --vram-budget",
        )


def out_of_memory(placement: Placement, device: torch.device) -> BudgetError:
    """The error of a device that had less memory than was predicted."""
    found = f", {gib(torch.cuda.max_memory_allocated(device))} were held" if device.type == "cuda" else ""
    return BudgetError(
        f"{device} ran out of memory: {gib(placement.parts.device_bytes)} were predicted{found}",
        where="--vram-budget",
        hint="say a smaller --vram-budget, so that more is turned; the chunks in the video are whole",
    )


def release_device(device: torch.device) -> None:
    """Give what is freed on a GPU back to the driver, so that large tensors find room in one piece."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def device_info(device: torch.device) -> Device:
    """The device as run.json describes it."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return Device(name=str(device), model=properties.name, total_bytes=properties.total_memory)
    return Device(
        name=str(device),
        model=cpu_model(),
        total_bytes=host_memory().total_bytes,
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
