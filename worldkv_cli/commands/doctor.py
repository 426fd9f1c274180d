"""`worldkv doctor`: is everything there that a run needs?"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer

from core.errors import WorldKVError
from worldkv_cli.console import human_bytes, print_json, wants_colour

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
    """Check Python, torch, devices, ffmpeg, weights, optional packages, checkpoints and write access."""
    from core.runlog import versions

    checks = list(run_checks())
    failed = any(check.status == "failed" for check in checks)
    if as_json:
        print_json({"ok": not failed, "versions": versions(), "checks": [asdict(check) for check in checks]})
    else:
        for check in checks:
            _print_check(check)
    if failed:
        raise typer.Exit(1)


def run_checks() -> Iterator[Check]:
    """Look at everything, whatever fails on the way."""
    lookers: dict[str, Callable[[], Iterator[Check]]] = {
        "worldkv": _versions,
        "torch": _torch,
        "ffmpeg": _ffmpeg,
        "weights": _weights,
        "extras": _extras,
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


def _print_check(check: Check) -> None:
    status = f"{check.status:8}"
    if wants_colour(sys.stdout):
        status = f"\033[{_STYLES[check.status]}m{status}\033[0m"
    sys.stdout.write(f"{status} {check.name:11} {check.detail}\n")
    if check.hint:
        sys.stdout.write(f"{'':21}hint: {check.hint}\n")
