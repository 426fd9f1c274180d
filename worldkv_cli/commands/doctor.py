"""`worldkv doctor`: is everything there that a run needs?"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from core.errors import WorldKVError
from worldkv_cli.console import human_bytes, human_time, print_json, wants_colour

if TYPE_CHECKING:
    from core.forecast.capacity import Capacity

_STYLES = {"ok": "32", "warning": "33", "failed": "1;31"}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: Literal["ok", "warning", "failed"]
    detail: str
    hint: str = ""


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("doctor")(doctor)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check Python, torch, devices, ffmpeg, packages, checkpoints and disk, and say what fits here.

    The longest rollout of each model and memory mode is told for models without files, too.
    """
    from core.runlog import versions

    checks = list(run_checks())
    failed = any(check.status == "failed" for check in checks)
    machine, room = rollouts_here()
    if as_json:
        found = {"checks": [asdict(check) for check in checks], "rollouts": [asdict(each) for each in room]}
        print_json({"ok": not failed, "versions": versions(), **found})
    else:
        for check in checks:
            _print_check(check)
        _print_rollouts(machine, room)
    if failed:
        raise typer.Exit(1)


def run_checks() -> Iterator[Check]:
    """Look at everything, whatever fails on the way."""
    lookers: dict[str, Callable[[], Iterator[Check]]] = {
        "worldkv": _versions,
        "torch": _torch,
        "memory": _memory,
        "ffmpeg": _ffmpeg,
        "weights": _weights,
        "extras": _extras,
        "slurm": _slurm,
        "models": _models,
        "output": _output,
    }
    for name, look in lookers.items():
        try:
            yield from look()
        except WorldKVError as error:
            yield Check(name, "failed", f"{error.problem} ({error.where})", error.hint)
        except (ImportError, OSError, RuntimeError) as error:
            yield Check(name, "failed", f"{type(error).__name__}: {error}")


def _versions() -> Iterator[Check]:
    from core.runlog import versions

    found = versions()
    yield Check("worldkv", "ok", found["worldkv"])
    supported = sys.version_info >= (3, 11)
    yield Check(
        "python", "ok" if supported else "failed", found["python"], "" if supported else "3.11 or newer"
    )
    yield Check("platform", "ok", f"{found['platform']}, {os.cpu_count()} CPUs")


def _torch() -> Iterator[Check]:
    import torch

    threads = torch.get_num_threads()
    yield Check("torch", "ok", f"{torch.__version__}, {threads} thread{'s' * (threads != 1)}")
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        name, memory = torch.cuda.get_device_name(index), torch.cuda.get_device_properties(index).total_memory
        yield Check(f"cuda:{index}", "ok", f"{name}, {human_bytes(memory)}")
    if torch.backends.mps.is_available():
        yield Check("mps", "ok", "Apple GPU")
    elif not torch.cuda.is_available():
        yield Check(
            "gpu", "warning", "none found", "the embedded model runs on the CPU; large models want a GPU"
        )


def _memory() -> Iterator[Check]:
    from core.host_memory import host_memory

    found = host_memory()
    if found.total_bytes is None or found.available_bytes is None:
        yield Check("memory", "ok", "this system does not tell how much there is")
        return
    limit = f", limited by {found.limited_by}" if found.limited_by is not None else ""
    available, total = human_bytes(found.available_bytes), human_bytes(found.total_bytes)
    yield Check("memory", "ok", f"{available} of {total} can be taken{limit}")


def rollouts_here() -> tuple[str, list[Capacity]]:
    """Where a rollout would run, and how long one of each model and memory mode could be there."""
    import torch

    from core.elements import NUMBER_FORMATS
    from core.forecast.capacity import capacities
    from core.host_memory import host_memory
    from core.limits import cuda_limits
    from core.models.registry import list_models
    from core.placement import Budgets

    available = host_memory().available_bytes
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        name, limits, dtype = "cuda", cuda_limits(Budgets(device=free, host=available)), "bfloat16"
    else:  # the device's memory is the host's
        none_beside = None if available is None else 0
        name, limits, dtype = "cpu", Budgets(device=available, host=none_beside), "float32"
    found = [each for entry in list_models() for each in capacities(entry, limits, NUMBER_FORMATS[dtype])]
    return f"{name}, {dtype}", found


def _ffmpeg() -> Iterator[Check]:
    from core.video.ffmpeg import ffmpeg_exe, ffmpeg_version

    exe = ffmpeg_exe()
    yield Check("ffmpeg", "ok", f"{ffmpeg_version(exe)} with libx264 ({exe})")


def _weights() -> Iterator[Check]:
    from core.models.mini import model

    config = model.read_config(model.WEIGHTS)  # tells by itself if they are missing or damaged
    size = f"{config.width_px}x{config.height_px}"
    yield Check("weights", "ok", f"mini, {size}, {human_bytes(model.WEIGHTS.stat().st_size)}")


def _extras() -> Iterator[Check]:
    """Optional packages, without importing them."""
    extras = (
        ("wan", "the large models", ("diffusers", "transformers", "tokenizers", "sentencepiece", "ftfy")),
        ("int8", "--weights int8 and fp8", ("torchao",)),
    )
    for extra, use, packages in extras:
        absent = [package for package in packages if find_spec(package) is None]
        if absent:
            hint = f'for {use}: pip install "worldkv[{extra}]"'
            yield Check(extra, "warning", f"without {', '.join(absent)}", hint)
        else:
            yield Check(extra, "ok", ", ".join(f"{name} {metadata.version(name)}" for name in packages))


def _slurm() -> Iterator[Check]:
    """The cluster, where there is one."""
    sbatch = shutil.which("sbatch")
    if sbatch is None:
        return
    version = subprocess.run([sbatch, "--version"], capture_output=True, text=True, check=False)
    if find_spec("submitit") is None:
        hint = 'for worldkv batch submit: pip install "worldkv[slurm]"'
        yield Check("slurm", "warning", f"{version.stdout.strip()}, without submitit", hint)
    else:
        yield Check("slurm", "ok", f"{version.stdout.strip()}, submitit {metadata.version('submitit')}")


def _models() -> Iterator[Check]:
    """The models that have files of their own; none of them is needed for the embedded one."""
    from core.models.registry import list_models
    from worldkv_cli.commands.models import files_of

    for entry in list_models():
        files = files_of(entry)
        if files.where != "package":
            yield Check(entry.name, "ok" if files.where == "found" else "warning", files.text)


def _output() -> Iterator[Check]:
    try:
        with tempfile.TemporaryFile(dir=Path.cwd()) as probe:
            probe.write(bytes(1 << 20))
            probe.flush()
    except OSError as error:
        yield Check(
            "output", "warning", f"no files can be written here: {error.strerror}", "use --out elsewhere"
        )
    else:
        free = human_bytes(shutil.disk_usage(Path.cwd()).free)
        yield Check("output", "ok", f"{Path.cwd()} can be written, {free} free")


def _print_rollouts(machine: str, found: list[Capacity]) -> None:
    """A table: models down, memory modes across."""
    modes = list(dict.fromkeys(each.memory for each in found))
    told = {(each.model, each.memory): _length(each) for each in found}
    sys.stdout.write(f"\nlongest rollout here ({machine}; worldkv: if all that was seen is seen again)\n")
    sys.stdout.write(f"{'':13}" + "".join(f"{mode:<25}" for mode in modes).rstrip() + "\n")
    for model in dict.fromkeys(each.model for each in found):
        cells = "".join(f"{told[model, mode]:<25}" for mode in modes)
        sys.stdout.write(f"{model:13}{cells}".rstrip() + "\n")


def _length(found: Capacity) -> str:
    if not found.fits:
        return "none"
    if found.chunks is None or found.seconds is None:
        return "any length"
    return f"{found.chunks:,} chunks, {human_time(found.seconds)}"


def _print_check(check: Check) -> None:
    status = f"{check.status:8}"
    if wants_colour(sys.stdout):
        status = f"\033[{_STYLES[check.status]}m{status}\033[0m"
    sys.stdout.write(f"{status} {check.name:11} {check.detail}\n")
    if check.hint:
        sys.stdout.write(f"{'':21}hint: {check.hint}\n")
