"""The README's commands work.

A shell block after the line `<!-- run -->` is run as it stands by `.ci/run`. Here every `worldkv` command of
the README, in a block or in the text, is checked against the real command line: does it exist, and does it
have these options?
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from worldkv_cli.main import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCED = re.compile(r"(?P<mark><!-- run -->\n)?```(?P<kind>\w*)\n(?P<body>.*?)```", re.DOTALL)
INLINE = re.compile(r"`(worldkv [^`]+)`")
SHELLS = ("bash", "console", "sh")


def lines_of(block: re.Match[str]) -> Iterator[str]:
    """Commands of a shell block, continued lines joined; of a console only what follows the prompt."""
    for line in block["body"].replace("\\\n", " ").splitlines():
        if block["kind"] == "console" and not line.startswith("$ "):
            continue
        command = line.removeprefix("$ ").partition(" #")[0].strip()
        if command and not command.startswith("#"):
            yield command


def marked_commands() -> list[str]:
    """Commands that the README promises to be run."""
    return [line for block in FENCED.finditer(README) if block["mark"] for line in lines_of(block)]


def worldkv_commands() -> list[str]:
    """Every worldkv command of the README."""
    in_blocks = [
        line for block in FENCED.finditer(README) if block["kind"] in SHELLS for line in lines_of(block)
    ]
    return [
        line for line in [*in_blocks, *INLINE.findall(FENCED.sub("", README))] if line.startswith("worldkv ")
    ]


def options_of(words: list[str]) -> tuple[list[str], set[str], bool]:
    """The subcommand that `words` name, the options that it has, and whether it takes arguments."""
    command: Any = typer.main.get_command(app)
    path = []
    while hasattr(command, "commands") and words and words[0] in command.commands:
        path.append(words[0])
        command, words = command.commands[words[0]], words[1:]
    options = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    takes_arguments = any(param.param_type_name == "argument" for param in command.params)
    return path, options | {"--help", "-h"}, takes_arguments


@pytest.mark.parametrize("command", worldkv_commands() or ["worldkv --help"])
def test_command_exists_as_it_is_written(command: str) -> None:
    words = shlex.split(command)[1:]
    path, options, takes_arguments = options_of(words)
    rest = words[len(path) :]
    assert CliRunner().invoke(app, [*path, "--help"]).exit_code == 0
    unknown = [word for word in rest if word.startswith("-") and word.partition("=")[0] not in options]
    assert unknown == []
    if rest and not rest[0].startswith("-"):
        assert takes_arguments, f"{' '.join(['worldkv', *path])} takes no {rest[0]}"


def test_marked_commands_are_ours_and_found_by_ci() -> None:
    """`.ci/run` takes them from the README with the same rule."""
    assert all(command.split()[0] in ("worldkv", "pytest") for command in marked_commands())
    if marked_commands():
        assert "pytest" in marked_commands()
        assert any(command.startswith("worldkv generate ") for command in marked_commands())


def test_generate_commands_can_be_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The marked ones up to the weights: trajectory, prefix, window and plan."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("core.generate.Job.run", stop_here)
    for command in marked_commands():
        if command.startswith("worldkv generate "):
            done = CliRunner().invoke(app, shlex.split(command)[1:])
            assert done.exit_code == 130, done.stderr
            assert done.stderr.endswith("interrupted: prepared\n")


def stop_here(*_: object) -> None:
    raise KeyboardInterrupt("prepared")


def test_files_that_it_names_exist() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    missing = [link for link in links if not (ROOT / link).exists()]
    assert missing == []


def test_environment_variables_and_flags_that_it_names_exist() -> None:
    from core.config import KEYS
    from core.models.checkpoint.locate import CHECKPOINTS_ENV

    known = {f"--{key.replace('_', '-')}" for key in KEYS} | {"--json", "--config", "--per-frame"}
    traj = [["traj", name] for name in ("show", "check", "schema")]
    for path in (*traj, ["doctor"], ["models", "list"], ["eval"], ["bench"], ["report"], ["profile"]):
        known |= options_of(path)[1]
    named = set(re.findall(r"`(--[a-z-]+)", FENCED.sub("", README)))
    assert named <= known
    variables = set(re.findall(r"WORLDKV_[A-Z_]+\b", README)) - {CHECKPOINTS_ENV}
    assert all(name.removeprefix("WORLDKV_").lower() in KEYS for name in variables)
