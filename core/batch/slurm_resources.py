"""From the manifest's resources to sbatch's options."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.batch.loader import BatchJob
from core.batch.schema import Resources
from core.errors import InputError

WARN_S = 90
"""How long before the time limit a job is told; SLURM may tell up to a minute earlier."""

_OURS = ("array", "output", "error", "open-mode", "nodes", "ntasks-per-node", "time")
_SIGNAL = re.compile(r"USR2@(\d+)")


@dataclass(frozen=True)
class Request:
    """What one job asks of SLURM.

    Attributes:
        minutes: Time limit.
        warn_s: Seconds before it at which the job is told.
        parameters: Of submitit's executor.
    """

    minutes: int
    warn_s: int
    parameters: Mapping[str, Any]


def request_of(job: BatchJob, *, time_s: int | None = None) -> Request:
    """What a job asks for.

    Args:
        job: The job.
        time_s: Time limit in place of the manifest's.

    Raises:
        InputError: There is no time limit, or an option that the batch sets itself.
    """
    resources = job.resources
    limit_s = resources.time_s if time_s is None else time_s
    if limit_s is None or limit_s <= 0:
        hint = "add `resources: {time: 2:00:00}` to the manifest, or --time 2:00:00"
        raise InputError(f"SLURM wants a time limit, and {job.name} has none", where=job.where, hint=hint)
    further = _further(job)
    warn_s = min(WARN_S, limit_s // 4)
    if "signal" in further:
        match = _SIGNAL.fullmatch(str(further["signal"]))
        if match is None:
            problem = f"the signal must be USR2@SECONDS, got {further['signal']!r}"
            raise InputError(problem, where=job.where, hint="USR2@300 tells a job five minutes ahead")
        warn_s = int(match[1])
    minutes = math.ceil(limit_s / 60)  # what SLURM counts in
    parameters = _parameters(resources) | {"time": minutes, "signal_delay_s": warn_s}
    return Request(minutes, warn_s, parameters | {"additional_parameters": further})


def alike(
    jobs: Sequence[BatchJob], *, time_s: int | None = None
) -> list[tuple[Request, tuple[BatchJob, ...]]]:
    """Jobs in groups that ask for the same, in the order of the first of each.

    Raises:
        InputError: See `request_of`.
    """
    groups: list[tuple[Request, list[BatchJob]]] = []
    for job in jobs:
        request = request_of(job, time_s=time_s)
        for known, members in groups:
            if known == request:
                members.append(job)
                break
        else:
            groups.append((request, [job]))
    return [(request, tuple(members)) for request, members in groups]


def _parameters(resources: Resources) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if resources.gpus:
        found["gpus_per_node"] = resources.gpus
    if resources.cpus is not None:
        # Since 22.05 srun no longer takes this over from sbatch.
        found |= {"cpus_per_task": resources.cpus, "srun_args": [f"--cpus-per-task={resources.cpus}"]}
    for name in ("partition", "account"):
        if getattr(resources, name) is not None:
            found[name] = getattr(resources, name)
    return found


def _further(job: BatchJob) -> dict[str, Any]:
    further: dict[str, Any] = {"requeue": True}
    if job.resources.memory is not None:
        further["mem"] = f"{math.ceil(job.resources.memory / 2**20)}M"
    for key, value in job.resources.sbatch.items():
        option = key.replace("_", "-")
        if option in _OURS:
            problem = f"sbatch's option {option} is the batch's own matter"
            raise InputError(problem, where=job.where, hint="leave it out")
        further[option] = value
    return {option: value for option, value in further.items() if value is not False}
