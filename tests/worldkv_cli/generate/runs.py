"""Short ways to run `worldkv generate` in tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from core.config import resolve
from core.generate import Job, prepare
from core.runlog import load_run
from core.schemas.run import RunLog
from worldkv_cli.main import app

LOOK = """\
version: 1
name: look
steps:
  - hold: {frames: 2}
  - turn: {yaw_deg: 40, frames: 10}
  - turn: {yaw_deg: -40, frames: 11}
"""
"""24 frames, 8 chunks; the camera sees the same going and coming back."""


@dataclass(frozen=True)
class Told:
    """What a command said."""

    exit_code: int
    stdout: str
    stderr: str


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without settings of ours, one thread, and no terminal."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WORLDKV_")}
    return {**kept, "OMP_NUM_THREADS": "1", **more}


def generate(*arguments: str | Path | float) -> Told:
    """`worldkv generate`, in this process."""
    done = CliRunner().invoke(app, ["generate", *map(str, arguments)])
    return Told(done.exit_code, done.stdout, done.stderr)


def spawn(*arguments: str | Path | float, driver: str = "", **environment: str) -> subprocess.Popen[str]:
    """`worldkv generate` in a process of its own, after the Python of `driver`."""
    code = f"{driver}\nfrom worldkv_cli.main import run\nrun()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "generate", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(**environment),
        start_new_session=True,
    )


def spawn_and_wait(*arguments: str | Path | float, driver: str = "", **environment: str) -> Told:
    """The same, to its end."""
    process = spawn(*arguments, driver=driver, **environment)
    stdout, stderr = process.communicate(timeout=120)
    return Told(process.returncode, stdout, stderr)


def prepared(**settings: object) -> Job:
    """A job as the command prepares it."""
    return prepare(resolve({"quiet": True, **settings}, {}))


def log_of(folder: Path) -> RunLog:
    """The run log, validated."""
    return load_run(folder)


def json_of(told: Told) -> dict[str, Any]:
    """The one JSON object on stdout."""
    result = json.loads(told.stdout)
    assert isinstance(result, dict)
    return result
