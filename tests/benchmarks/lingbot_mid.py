"""A network of middle size on the CPU: seconds a chunk early and late, and where they go.

Width 512 in 4 heads, 4 layers, 180 tokens a latent frame, in float32. On two cores the reference took 2.19,
3.29 and 6.22 s for chunks 10, 20 and 38 with full attention, 1.42, 1.58 and 1.60 s with a sliding window of
18 frames, and 1.60, 1.94 and 1.78 s with retrieval of 18 frames pruned to a quarter.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from core.host_cpu import cpu_model
from core.profiling.engine import load_timed, open_session, plan_cell
from core.profiling.operations import measure_overhead
from core.profiling.rounds import Rounds, TimedChunk, timed_rounds
from core.profiling.settings import ProfileSettings
from core.profiling.sizes import LINGBOT, Sizes, scaled_vae
from core.profiling.statistics import Spread
from tests.benchmarks.runs import Deadline

SIZES = Sizes(
    replace(LINGBOT, dim=512, ffn_dim=1408, num_heads=4, num_layers=4, text_dim=64, text_tokens=64),
    scaled_vae(0.05),  # decoding is not what is compared
    (288, 160),
)
MODES = {
    "full": {"memory": "full"},
    "sliding": {"memory": "sliding", "recent": 15},
    "worldkv": {
        "memory": "worldkv",
        "strategy": "pose",
        "sink": 3,
        "recent": 3,
        "retrieve": 6.0,
        "prune": "key",
        "keep_ratio": 0.25,
        "pooled": True,
    },
}


REFERENCE_S = {"full": (2.19, 3.29, 6.22), "sliding": (1.42, 1.58, 1.60), "worldkv": (1.60, 1.94, 1.78)}
"""Of the reference, on two cores, at the same three chunks."""


def run(
    device: torch.device, deadline: Deadline, num_chunks: int, repeats: int, out: Path | None = None
) -> None:
    """Three chunks around each of three places, all modes in turn; the chunks between are jumped over."""
    settings = ProfileSettings(model="lingbot", random_weights=True, lengths=(num_chunks,))
    session = open_session(settings, {}, {}, SIZES)
    cells = [
        plan_cell(session, {**flags, "vram_budget": None}, {}, device=device, dtype=torch.float32)
        for flags in MODES.values()
    ]
    stage = load_timed(cells[0], device, torch.float32, lambda *_: None)
    places = (num_chunks // 4, num_chunks // 2, num_chunks - 2)
    wanted = tuple(chunk + near for chunk in places for near in (-1, 0, 1))
    rounds = Rounds(wanted=wanted, repeats=repeats, decoded_repeats=0)
    load = [os.getloadavg()[0]]
    print(f"{torch.get_num_threads()} threads, load {load[0]:.1f}, chunks of {num_chunks}")
    timed: list[TimedChunk] = []
    for each in timed_rounds(stage, list(enumerate(cells)), rounds, stop=deadline.passed):
        timed.append(each)
        deadline.note(f"chunk {each.chunk}, {cells[each.cell].mode}")
    load.append(os.getloadavg()[0])
    rows = [
        Row.of(cell.mode, chunk, reference, [t for t in timed if t.cell == n and abs(t.chunk - chunk) <= 1])
        for n, cell in enumerate(cells)
        for chunk, reference in zip(places, REFERENCE_S[cell.mode], strict=True)
    ]
    for row in rows:
        print(row.words)
    if out is not None:
        found = {"threads": torch.get_num_threads(), "load": load, "device": cpu_model(), "rows": rows}
        out.mkdir(parents=True, exist_ok=True)
        (out / "mid.json").write_text(json.dumps(found, indent=1, default=asdict) + "\n")
    for cell in cells:
        found = measure_overhead(stage, cell, num_chunks // 2)
        largest = ", ".join(f"{each.name} {each.share:.0%}" for each in found.largest)
        print(f"{cell.mode:8} {found.outside_share:.0%} outside products and attention: {largest}")


@dataclass(frozen=True)
class Row:
    """Seconds of one mode around one chunk: median, quartiles, processor time, the reference's."""

    mode: str
    chunk: int
    wall_s: Spread
    cpu_s: Spread
    reference_s: float

    @classmethod
    def of(cls, mode: str, chunk: int, reference_s: float, some: list[TimedChunk]) -> Row:
        """Of some timed chunks; decoding is not what is compared."""
        wall, cpu = (
            Spread.of(values)
            for values in ([sum(t.ms.values()) / 1e3 for t in some], [t.cpu_ms / 1e3 for t in some])
        )
        if wall is None or cpu is None:
            raise SystemExit(f"chunk {chunk} of {mode} was not reached: give more --minutes")
        return cls(mode, chunk, wall, cpu, reference_s)

    @property
    def words(self) -> str:
        """A line of the table."""
        wall = self.wall_s
        return (
            f"{self.mode:8} chunk {self.chunk:2}: {wall.median:.2f} s ({wall.low:.2f} to {wall.high:.2f}, "
            f"{wall.count} chunks), {self.cpu_s.median:.2f} of CPU; reference {self.reference_s:.2f}, "
            f"{wall.median / self.reference_s:.2f} of it"
        )
