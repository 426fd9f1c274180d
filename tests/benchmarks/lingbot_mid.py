"""A network of middle size on the CPU: seconds a chunk early and late, and where they go.

Width 512 in 4 heads, 4 layers, 180 tokens a latent frame, in float32. On two cores the reference took 2.19,
3.29 and 6.22 s for chunks 10, 20 and 38 with full attention, 1.42, 1.58 and 1.60 s with a sliding window of
18 frames, and 1.60, 1.94 and 1.78 s with retrieval of 18 frames pruned to a quarter.
"""

from __future__ import annotations

import os
import statistics
from dataclasses import replace

import torch

from core.profiling.engine import load_timed, open_session, plan_cell
from core.profiling.operations import measure_overhead
from core.profiling.rounds import Rounds, TimedChunk, timed_rounds
from core.profiling.settings import ProfileSettings
from core.profiling.sizes import LINGBOT, Sizes, scaled_vae
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


def run(device: torch.device, deadline: Deadline, num_chunks: int) -> None:
    """Three chunks around each of three places, all modes in turn; the chunks between are jumped over."""
    settings = ProfileSettings(model="lingbot", random_weights=True, lengths=(num_chunks,))
    session = open_session(settings, {}, {}, SIZES)
    cells = [
        plan_cell(session, {**flags, "vram_budget": None}, {}, device=device, dtype=torch.float32)
        for flags in MODES.values()
    ]
    stage = load_timed(cells[0], device, torch.float32, lambda *_: None)
    probes = [[c - 1, c, c + 1] for c in (num_chunks // 4, num_chunks // 2, num_chunks - 2)]
    rounds = Rounds(wanted=tuple(chunk for probe in probes for chunk in probe), repeats=1, decoded_repeats=0)
    print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}, chunks of {num_chunks}")
    timed: list[TimedChunk] = []
    for each in timed_rounds(stage, list(enumerate(cells)), rounds, stop=deadline.passed):
        timed.append(each)
        deadline.note(f"chunk {each.chunk}, {cells[each.cell].mode}")
    for number, cell in enumerate(cells):
        told = ", ".join(
            words(probe[1], [t for t in timed if t.cell == number and t.chunk in probe]) for probe in probes
        )
        print(f"{cell.mode:8}{told}")
    for cell in cells:
        found = measure_overhead(stage, cell, num_chunks // 2)
        largest = ", ".join(f"{each.name} {each.share:.0%}" for each in found.largest)
        print(f"{cell.mode:8} {found.outside_share:.0%} outside products and attention: {largest}")


def words(chunk: int, some: list[TimedChunk]) -> str:
    if not some:
        return f" chunk {chunk}: not reached"
    wall = statistics.median(sum(t.ms.values()) - t.ms.get("decode", 0.0) for t in some) / 1e3
    cpu = statistics.median(t.cpu_ms for t in some) / 1e3
    return f" chunk {chunk}: {wall:.2f} s ({cpu:.2f} of CPU)"
