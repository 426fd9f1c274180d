"""How many workers a machine takes, and what each may use."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch

from core.errors import InputError
from core.hardware import pick_device

CPUS_A_WORKER = 2
"""Cores for a worker on a machine without a GPU, unless the manifest says."""


def has_gpu() -> bool:
    """Whether there is a GPU; looking does not yet take any of its memory."""
    return torch.cuda.device_count() > 0


def num_cpus() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def worker_devices(
    workers: int | None, devices: Sequence[str], *, cpus_a_job: int | None, num_jobs: int
) -> tuple[str, ...]:
    """The device of each worker, round and round.

    Args:
        workers: How many workers; None for one a GPU, or one for every `cpus_a_job` cores without a GPU.
        devices: Devices to use; none for all GPUs, or the CPU.
        cpus_a_job: Cores of a job; None for two.
        num_jobs: More workers than jobs are of no use.

    Raises:
        InputError: A device is not there.
    """
    for device in devices:
        try:
            pick_device(device)
        except InputError as error:
            raise InputError(error.problem, where="--devices", hint=error.hint) from None
    found = tuple(devices) or tuple(f"cuda:{index}" for index in range(torch.cuda.device_count())) or ("cpu",)
    if workers is None:
        cpus = max(1, num_cpus() // (cpus_a_job or CPUS_A_WORKER))
        workers = cpus if set(found) == {"cpu"} else len(found)
    return tuple(found[index % len(found)] for index in range(max(1, min(workers, num_jobs))))


def threads_a_worker(workers: int, threads: int | None = None) -> int:
    """Threads of the CPU for each worker: what the user says, `OMP_NUM_THREADS`, or an equal share."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    if threads is None and said.isdecimal() and int(said) > 0:
        return int(said)
    return threads or max(1, num_cpus() // workers)
