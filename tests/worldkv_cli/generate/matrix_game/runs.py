"""Short ways to run `worldkv generate --model matrix-game` on small checkpoints in tests."""

from __future__ import annotations

from pathlib import Path

from core.generate import Job
from tests.worldkv_cli.generate import runs
from tests.worldkv_cli.generate.runs import Told

FLAGS = {
    "--model": "matrix-game",
    "--image": "first.png",
    "--traj": "away.yaml",
    "--size": "96x64",
    "--out": "run",
    "--device": "cpu",
}


def arguments(checkpoint: Path | None, **changes: object) -> list[str]:
    """Flags of a run; a change to None leaves one out, to True makes it a switch."""
    named = {f"--{name.replace('_', '-')}": value for name, value in changes.items()}
    flags = {**FLAGS, **({"--checkpoint": checkpoint} if checkpoint else {}), **named}
    told = []
    for flag, value in flags.items():
        if value is not None:
            told += [flag] if value is True else [flag, str(value)]
    return told


def generate(checkpoint: Path | None, **changes: object) -> Told:
    """The command in this process, quietly."""
    return runs.generate("--quiet", *arguments(checkpoint, **changes))


def prepared(checkpoint: Path | None, **changes: object) -> Job:
    """A job as the command prepares it."""
    flags = {flag.removeprefix("--"): value for flag, value in FLAGS.items()}
    settings = {**flags, **({"checkpoint": checkpoint} if checkpoint else {}), **changes}
    return runs.prepared(**{key: value for key, value in settings.items() if value is not None})


def lines(problem: str, where: str, hint: str) -> str:
    """What an error says."""
    return f"error: {problem}\n  at: {where}\nhint: {hint}\n"


def warnings(*notes: str) -> str:
    """What notes say."""
    return "".join(f"warning: {note}\n" for note in notes)
