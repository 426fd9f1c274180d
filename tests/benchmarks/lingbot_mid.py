"""A network of middle size on the CPU: seconds a chunk early and late, and where they go.

Width 512 in 4 heads, 4 layers, 180 tokens a latent frame, in float32. On two cores the reference took 2.19,
3.29 and 6.22 s for chunks 10, 20 and 38 with full attention, 1.42, 1.58 and 1.60 s with a sliding window of
18 frames, and 1.60, 1.94 and 1.78 s with retrieval of 18 frames pruned to a quarter.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from core.memory.layout import MemoryMode, WindowLayout
from core.memory.plan import MemoryPlan
from core.memory.planner import plan_memory
from core.memory.presets import OURS
from core.memory.strategies import strategy
from core.models.lingbot.controls import LingBotControls
from core.models.lingbot.session import SHIFT
from core.models.wan.first_picture import FirstPicture
from core.models.wan.vae_config import WAN_VAE
from core.models.wan.weights_placement import WeightPlacement
from core.sampler import NoiseLevels
from tests.benchmarks.lingbot_parts import LINGBOT, Case, random_network
from tests.benchmarks.lingbot_timing import Deadline, Measured, Stage, timings_of

NETWORK = replace(LINGBOT, dim=512, ffn_dim=1408, num_heads=4, num_layers=4, text_dim=64, text_tokens=64)
SIZE = (288, 160)
WINDOW_FRAMES = 18
PRESET = replace(OURS, keep_ratio=0.25)
CPU = "cpu"  # of the process, all threads: what is left to compare on a machine that others use, too
HEAVY = ("mm", "attention")
TOP = 10


class Empty:
    """Latents of a picture that is nothing at all."""

    steady_after = None

    def frames(self, start: int, stop: int) -> torch.Tensor:
        return torch.zeros(1, 16, stop - start, SIZE[1] // 8, SIZE[0] // 8)


def plans(case: Case) -> dict[str, MemoryPlan]:
    views = case.path.viewpoints
    common = {"num_frames": views.num_frames, "tokens_per_frame": views.tokens_per_frame}
    recalled = PRESET.layout(views.num_frames, views.tokens_per_frame)
    chunks = PRESET.retrieve_chunks(views.tokens_per_frame)
    sliding = WindowLayout(mode=MemoryMode.SLIDING, recent_frames=WINDOW_FRAMES - 3, **common)
    full = WindowLayout(mode=MemoryMode.FULL, **common)
    fixed = {"footprint": case.footprint}
    return {
        "full": plan_memory(views, layout=full, **fixed),
        "sliding": plan_memory(views, layout=sliding, **fixed),
        "worldkv": plan_memory(
            views,
            layout=recalled,
            strategy=strategy("pose")(num_chunks=chunks),
            pruning=PRESET.pruning,
            **fixed,
        ),
    }


def run(device: torch.device, deadline: Deadline, num_chunks: int, *, profiled: bool) -> dict[str, Any]:
    """Three chunks around each of three places, all modes in turn; the chunks between are jumped over."""
    case = Case(NETWORK, WAN_VAE, SIZE, num_chunks, torch.float32, None)
    network = random_network(NETWORK, WeightPlacement(), device, torch.float32)
    picture = FirstPicture(Empty(), case.path.viewpoints.num_frames)
    context = torch.randn(1, 64, NETWORK.text_dim, device=device)
    controls = LingBotControls(network, case.path, picture, context)
    rows, cols = case.path.grid
    stage = Stage(controls, device, torch.float32, (2 * rows, 2 * cols), NoiseLevels.from_table(SHIFT))
    last = num_chunks - 2
    probes = [[c - 1, c, c + 1] for c in (num_chunks // 4, num_chunks // 2, last)]
    by_mode = plans(case)
    measured = {mode: Measured() for mode in by_mode}
    memories = {mode: stage.memory(plan) for mode, plan in by_mode.items()}
    wanted = [chunk for probe in probes for chunk in probe]
    running = {mode: stage.chunks(plan, memories[mode], wanted) for mode, plan in by_mode.items()}
    print(
        f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}, chunks {wanted} of {num_chunks}"
    )
    for chunk in wanted:
        if deadline.passed():
            break
        for mode, results in running.items():
            began = time.process_time()
            measured[mode].chunks[chunk] = timings_of(next(results)) | {
                CPU: (time.process_time() - began) * 1e3
            }
        deadline.note(f"chunk {chunk}, load {os.getloadavg()[0]:.1f}")
    for mode, times in measured.items():
        told = [(probe[1], times.chunk_ms(probe), times.median_ms(CPU, probe)) for probe in probes]
        words = (
            f" chunk {c}: {ms / 1e3:.2f} s ({cpu / 1e3:.2f} of CPU)" for c, ms, cpu in told if ms and cpu
        )
        print(f"{mode:8}" + ", ".join(words))
    if profiled:
        print_profile(stage, by_mode["worldkv"], num_chunks // 2)
    return dict(measured)


def print_profile(stage: Stage, plan: MemoryPlan, chunk: int) -> None:
    """What one chunk spends its time on, products and attention included."""
    results = stage.chunks(plan, stage.memory(plan), [chunk, chunk])
    next(results)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        next(results)
    events = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    print(f"\none chunk of worldkv, {total / 1e6:.2f} s of CPU time, by operation")
    for event in events[:TOP]:
        note = "" if any(word in event.key for word in HEAVY) else "  neither product nor attention"
        share = event.self_cpu_time_total / total
        print(f"{event.key:50} {share:6.1%} in {event.count} calls{note}")
