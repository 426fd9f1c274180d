"""Short ways to run `worldkv generate --model lingbot` on small checkpoints in tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from core.generate import Job
from tests.worldkv_cli.generate import runs
from tests.worldkv_cli.generate.runs import Told

THERE = """\
version: 1
name: there
steps:
  - turn: {yaw_deg: 40, frames: 12}
  - move: {forward_units: 0.6, frames: 12}
  - turn: {yaw_deg: -40, frames: 16}
  - move: {forward_units: -0.6, frames: 16}
"""
"""57 frames: 5 chunks of 3 latent frames, or 3 of 4 and 12 frames more."""

FLAGS = {
    "--model": "lingbot",
    "--image": "first.png",
    "--prompt": "a quiet town",
    "--traj": "there.yaml",
    "--size": "64x64",
    "--out": "run",
    "--device": "cpu",
}


def write_inputs(folder: Path) -> None:
    """first.png of 64x64, there.yaml, middle.yaml of 33 frames, and short.yaml of 9, a single chunk."""
    picture = np.random.RandomState(0).randint(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(picture).resize((64, 64), Image.Resampling.BICUBIC).save(folder / "first.png")
    (folder / "there.yaml").write_text(THERE)
    for name, frames in (("middle", 33), ("short", 9)):
        text = f"version: 1\nsteps:\n  - turn: {{yaw_deg: 40, frames: {frames - 1}}}\n"
        (folder / f"{name}.yaml").write_text(text)


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


def refused(exit_code: int, checkpoint: Path | None, **changes: object) -> str:
    """What is said; an earlier run is spared."""
    Path("run").mkdir()
    Path("run/run.json").write_text('{"schema_version": 1}')
    told = generate(checkpoint, overwrite=True, **changes)
    assert (told.exit_code, told.stdout) == (exit_code, ""), told.stderr
    assert [path.name for path in Path("run").iterdir()] == ["run.json"]
    return told.stderr


def lines(problem: str, where: str, hint: str) -> str:
    return f"error: {problem}\n  at: {where}\nhint: {hint}\n"
