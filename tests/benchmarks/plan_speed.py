"""How long planning takes at the real model's size, and how much memory.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.plan_speed
    OMP_NUM_THREADS=1 python -m tests.benchmarks.plan_speed --chunks 300 1000 --what schedule-rays plan-pose

Every row runs in a process of its own, so that its peak of resident memory is its own. Times are of the
processor, not of the clock on the wall.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable

from core.memory.footprint import Footprint
from core.memory.layout import MemoryMode, WindowLayout
from core.memory.overlap import OverlapSampling, overlap_table
from core.memory.planner import plan_memory
from core.memory.prune_policy import Pruning, kept_tokens
from core.memory.relevance import relevant_counts
from core.memory.schedule import HIT_OVERLAP, build_schedule
from core.memory.strategies.base import Strategy
from core.memory.strategies.coverage import Coverage
from core.memory.strategies.pose import Pose
from core.memory.strategies.rays import Rays
from core.memory.viewpoints import Viewpoints
from tests.benchmarks.long_paths import PATHS, lingbot_views

FOOTPRINT = Footprint(
    num_layers=40,
    num_heads=40,
    head_dim=128,
    grid=(30, 52),
    kv_element_bytes=2,
    parameter_bytes=37_000_000_000,
)
RETRIEVE_TOKENS = 3 * FOOTPRINT.tokens_per_chunk
VIEW_CHUNKS = 100
"""Chunks pruned by view; the time is that of one."""


def layout(views: Viewpoints) -> WindowLayout:
    return WindowLayout(
        mode=MemoryMode.WORLDKV,
        num_frames=views.num_frames,
        tokens_per_frame=views.tokens_per_frame,
        sink_frames=3,
        recent_frames=6,
        retrieve_tokens=RETRIEVE_TOKENS,
    )


def rays(views: Viewpoints) -> None:
    window = layout(views)
    asked = [(chunk, window.candidates(chunk)) for chunk in range(views.num_chunks)]
    kept = list(Rays().select_all(views, asked, RETRIEVE_TOKENS))
    if len(kept) != views.num_chunks:
        raise SystemExit(f"{len(kept)} of {views.num_chunks} chunks scheduled")


def hits(views: Viewpoints) -> None:
    window = layout(views)
    outside = [window.outside(chunk) for chunk in range(views.num_chunks)]
    relevant_counts(views, overlap_table(views, OverlapSampling()), outside, HIT_OVERLAP)


def schedule_with(strategy: Strategy) -> Callable[[Viewpoints], None]:
    """The whole schedule, hits and misses counted."""

    def schedule(views: Viewpoints) -> None:
        build_schedule(views, layout(views), strategy)

    return schedule


def plan_with(strategy: Strategy) -> Callable[[Viewpoints], None]:
    def plan(views: Viewpoints) -> None:
        plan_memory(views, footprint=FOOTPRINT, layout=layout(views), strategy=strategy)

    return plan


def view(views: Viewpoints) -> None:
    for chunk in range(VIEW_CHUNKS):
        kept_tokens(Pruning(rule="view", keep_ratio=0.25), views, chunk)


STRATEGIES: dict[str, Strategy] = {
    "pose": Pose(),
    "coverage": Coverage(),
    "rays": Rays(),
    "rays-depth": Rays(near_depth=4.0),
}
TASKS: dict[str, Callable[[Viewpoints], None]] = {
    "rays": rays,
    "hits": hits,
    **{f"schedule-{name}": schedule_with(strategy) for name, strategy in STRATEGIES.items()},
    **{f"plan-{name}": plan_with(strategy) for name, strategy in STRATEGIES.items()},
    "view": view,
}


def measure(task: str, path: str, chunks: int) -> tuple[float, float]:
    """Seconds and peak of resident MB."""
    views = lingbot_views(PATHS[path](3 * chunks))
    started = time.process_time()
    TASKS[task](views)
    seconds = time.process_time() - started
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chunks", type=int, nargs="+", default=[300, 1000, 5000, 20000])
    parser.add_argument("--paths", nargs="+", choices=PATHS, default=list(PATHS))
    parser.add_argument("--what", nargs="+", choices=TASKS, default=list(TASKS))
    args = parser.parse_args()
    print(f"{'what':19} {'path':7} {'chunks':>7} {'seconds':>8} {'ms/chunk':>9} {'peak MB':>8}")
    for task in args.what:
        for path in args.paths:
            for chunks in args.chunks if task != "view" else [VIEW_CHUNKS]:
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    seconds, peak = pool.apply(measure, (task, path, chunks))
                each = 1e3 * seconds / chunks
                print(f"{task:19} {path:7} {chunks:7} {seconds:8.2f} {each:9.2f} {peak:8.0f}", flush=True)


if __name__ == "__main__":
    main()
