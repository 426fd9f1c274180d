"""A small suite and made-up cells."""

from pathlib import Path

import numpy as np

from core.bench.cells import ENGINE_VERSION, task_key
from core.bench.judge import MEASURES
from core.bench.suite import Suite, Task, load_suite
from core.schemas.bench_cell import Cell, Costs, Machine, Score

SUITE = """\
version: 1
name: small
worlds: 2
batch: 2
scripts:
  - name: peek
    steps: [{turn: {yaw_deg: 60}}, {turn: {yaw_deg: -60}}, {hold: {frames: 3}}]
    given_chunks: 2
families:
  - name: rays
    title: How many rays
    curve: true
    by: strategy
    settings:
      - {strategy: rays, tokens: [20, 45]}
      - {strategy: pose, tokens: 45}
    against: {strategy: pose}
  - name: modes
    title: Memory modes
    protocols: [given]
    settings:
      - {strategy: rays, tokens: 45}
      - {mode: sliding}
    pairs:
      - {words: rays over sliding, a: {strategy: rays, tokens: 45}, b: {mode: sliding}}
"""


def small_file(folder: Path, text: str = SUITE) -> Path:
    path = folder / "small.yaml"
    path.write_text(text)
    return path


def small_suite(folder: Path) -> Suite:
    return load_suite(small_file(folder))


def made_up(task: Task, psnr: list[float], *, weights: str = "w", machine: Machine | None = None) -> Cell:
    """A cell in which every measure has the same values, one a world."""
    costs = Costs(
        retrieve_tokens=task.setting.tokens,
        retrieved_tokens=task.setting.tokens / 2,
        window_tokens=180 + task.setting.tokens,
        window_bytes=2 << 20,
        bank_bytes=1 << 20,
        stored_share=0.5,
        cpu_ms=30.0,
    )
    score = Score(
        script=task.script.name,
        setting=task.setting.label,
        given=task.given,
        costs=costs,
        measures={name: [float(v) for v in np.asarray(psnr)] for name in MEASURES},
    )
    return Cell(
        key=task_key(task, weights),
        setting=dict(task.setting.key),
        script=task.script.name,
        given=task.given,
        first_world=task.first_world,
        num_worlds=task.num_worlds,
        weights_sha256=weights,
        engine=ENGINE_VERSION,
        threads=1,
        machine=machine,
        score=score,
    )
