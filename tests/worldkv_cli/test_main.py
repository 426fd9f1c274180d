import re
import subprocess
import sys
from importlib import metadata

import pytest
from typer.testing import CliRunner

from worldkv_cli.main import app

BOOM = """
from core.errors import BudgetError
from worldkv_cli.main import app, run

@app.command()
def boom(kind: str) -> None:
    if kind == "budget":
        raise BudgetError("needs 40 GB, has 8 GB", where="--vram-budget", hint="--keep-ratio 0.25")
    if kind == "interrupt":
        raise KeyboardInterrupt
    raise RuntimeError(kind)

run()
"""


def worldkv(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["worldkv", *arguments], capture_output=True, text=True, check=False)


def boom(kind: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BOOM, "boom", kind]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_version() -> None:
    done = worldkv("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"worldkv {metadata.version('worldkv')}\n", "")


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_the_commands(flag: str) -> None:
    result = CliRunner().invoke(app, [flag])
    assert result.exit_code == 0
    assert "doctor" in result.stdout
    assert "130 interrupted" in re.sub(r"\s+", " ", result.stdout)


@pytest.mark.parametrize("arguments", [["--help"], ["generate", "--help"], ["--version"]])
def test_help_imports_little(arguments: list[str]) -> None:
    """What makes it answer in under half a second; a clock would measure the machine."""
    code = "from worldkv_cli.main import run; run()"
    command = [sys.executable, "-X", "importtime", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    modules = {line.rpartition("|")[2].strip() for line in lines}
    assert {"typer", "worldkv_cli"} <= modules
    assert not modules & {"torch", "numpy", "yaml", "PIL", "safetensors", "imageio"}


def test_error_of_a_command() -> None:
    done = boom("budget")
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr == ("error: needs 40 GB, has 8 GB\n  at: --vram-budget\nhint: --keep-ratio 0.25\n")


def test_interrupt_of_a_command() -> None:
    done = boom("interrupt")
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_bug_in_a_command() -> None:
    done = boom("surprise")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert "\nerror: worldkv has a bug: RuntimeError: surprise\n" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--nope"], "No such option: --nope"),
        (["nope"], "No such command 'nope'"),
        (["doctor", "x"], "unexpected"),
    ],
)
def test_usage_errors_exit_with_2(arguments: list[str], told: str) -> None:
    done = worldkv(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_no_command_shows_the_help() -> None:
    done = worldkv()
    assert done.returncode == 2
    assert "doctor" in done.stdout + done.stderr
