"""The real model's network at full width with random weights: what modes take in turns, and alone in memory.

    python -m tests.benchmarks.lingbot_full                                          # on a GPU of 80 GB
    python -m tests.benchmarks.lingbot_full --device cpu --scale 0.05 --chunks 12 --budget 2GiB
    python -m tests.benchmarks.lingbot_full --mid                                    # on a CPU

First all modes take turns after every chunk, three chunks each a quarter, half, and all the way through the
rollout, with one layer's keys and values for all layers: two windows of 23 GB do not fit beside the weights,
and the 153 GB of full attention over 40 chunks fit nowhere. Then every mode that fits the budget runs alone
in its real memory: peak against prediction.

On an H100, 40 chunks at 832x480 should take 6 to 7 minutes: a chunk takes 0.7e15 operations in linear layers
and 0.5e15 in attention to 18 frames (3.6e15 to all 120 frames at the end), 2.7 s at 450 TFLOP/s.
`--minutes` ends it in time, with what is there.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from core.profiling.settings import ALL_MODES, ProfileSettings, parse_budgets
from tests.benchmarks import lingbot_mid
from tests.benchmarks.lingbot_parity import RUNS, relative_rms
from tests.benchmarks.runs import Deadline, print_memory, profiled


def print_parity(device: torch.device) -> None:
    print("bfloat16 against float32, tiny golden network: relative rms of the clean latents")
    for name in RUNS:
        first, every = relative_rms(name, device)
        print(f"{name:14} first chunk {first:.4f}, all chunks {every:.4f}")


def lengths_of(num_chunks: int) -> tuple[int, ...]:
    """A quarter, half, and all the way through."""
    return tuple(sorted({max(6, num_chunks // 4), max(6, num_chunks // 2), num_chunks}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--scale", type=float, default=1.0, help="share of width, layers, codec and picture")
    parser.add_argument("--size", help="of the picture, such as 832x480")
    parser.add_argument("--chunks", type=int, default=40)
    parser.add_argument("--budget", default="72GiB", help="what --vram-budget would say")
    parser.add_argument("--modes", nargs="+", default=list(ALL_MODES), choices=ALL_MODES)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=7.5, help="begin no chunk after so long")
    parser.add_argument("--out", type=Path, help="folder for reports and figures")
    parser.add_argument("--mid", action="store_true", help="the mid-size network instead, in float32")
    args = parser.parse_args()
    if args.chunks < 6:
        parser.error("nothing is retrieved in fewer than 6 chunks")
    deadline = Deadline(args.minutes)
    if args.mid:
        lingbot_mid.run(torch.device(args.device), deadline, args.chunks, args.repeats, args.out)
        return
    print_parity(torch.device(args.device))
    settings = ProfileSettings(
        model="lingbot",
        random_weights=True,
        scale=args.scale,
        modes=tuple(args.modes),
        lengths=lengths_of(args.chunks),
        repeats=args.repeats,
        every_chunk=False,
        one_layer=True,
        settings={"device": args.device, "size": args.size},
    )
    print("\nin turns")
    profiled(settings, deadline, args.out and args.out / "turns")
    for mode in args.modes:
        if deadline.passed():
            return
        print(f"\n{mode} alone")
        alone = replace(settings, modes=(mode,), one_layer=False, budgets=parse_budgets(args.budget))
        print_memory(profiled(alone, deadline, args.out and args.out / mode))


if __name__ == "__main__":
    main()
