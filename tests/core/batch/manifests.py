"""Manifests and jobs for tests."""

from __future__ import annotations

import textwrap
from pathlib import Path

from core.batch.drive import Drive
from core.batch.index import Index
from core.batch.loader import Batch, load_batch
from core.batch.local import LocalExecutor
from core.batch.state import JobStatus, Observer

SHORT = "version: 1\nname: short\nsteps:\n  - hold: {frames: 2}\n"
"""One chunk of mini."""

LOOK = "version: 1\nname: look\nsteps:\n  - turn: {yaw_deg: 40, frames: 11}\n"
"""Four chunks of mini."""


def write(folder: Path, text: str, name: str = "batch.yaml") -> Path:
    """A manifest, beside the two trajectories."""
    (folder / "short.yaml").write_text(SHORT)
    (folder / "look.yaml").write_text(LOOK)
    path = folder / name
    path.write_text(textwrap.dedent(text))
    return path


def load(folder: Path, text: str) -> Batch:
    """The batch of a manifest."""
    return load_batch(write(folder, text))


def shorts(folder: Path, num_jobs: int, extra: str = "") -> Batch:
    """Jobs of one chunk each."""
    text = "defaults: {traj: ./short.yaml, scale: 1}"
    return load(folder, f"version: 1\n{extra}\n{text}\nmatrix: {{seed: 0..{num_jobs - 1}}}\n")


def look(batch: Batch) -> list[JobStatus]:
    """All jobs as they are now, from their folders alone."""
    return Observer(batch, Index.of(batch, rebuild=True)).look()


def states(batch: Batch) -> list[str]:
    """Their states."""
    return [status.state for status in look(batch)]


def run_here(batch: Batch, workers: int = 1) -> list[JobStatus]:
    """Run a batch with real worker processes."""
    with LocalExecutor([None] * workers, threads=1) as executor:
        return Drive(batch, executor, Observer(batch, Index.of(batch))).run()
