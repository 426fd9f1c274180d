"""Matrix-Game's universal network at full width with random weights: whole rollouts of every memory mode.

    python -m tests.benchmarks.matrix_game_full                                      # on a GPU of 80 GB
    python -m tests.benchmarks.matrix_game_full --device cpu --scale 0.1 --size 96x64 --chunks 24

No chunk is jumped over, as one takes a fraction of a second; modes take turns after every chunk. The path is
rounds of the library's loop, as keys and mouse, with the positions, sink and native window of a user's run;
`--own-window` gives sliding the released setting.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from core.profiling.settings import ALL_MODES, ProfileSettings, parse_budgets
from tests.benchmarks.runs import Deadline, print_memory, profiled


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--scale", type=float, default=1.0, help="share of width, layers, codec and picture")
    parser.add_argument("--size", help="of the picture, such as 640x352")
    parser.add_argument("--chunks", type=int, default=100)
    parser.add_argument("--budget", default="72GiB", help="what --vram-budget would say")
    parser.add_argument("--modes", nargs="+", default=list(ALL_MODES), choices=ALL_MODES)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--own-window", action="store_true", help="the model's own window for sliding")
    parser.add_argument("--minutes", type=float, default=9.0, help="begin no chunk after so long")
    parser.add_argument("--out", type=Path, help="folder for the report and figures")
    args = parser.parse_args()
    settings = ProfileSettings(
        model="matrix-game",
        random_weights=True,
        scale=args.scale,
        modes=tuple(args.modes),
        lengths=tuple(sorted({min(20, args.chunks), args.chunks})),
        budgets=parse_budgets(args.budget),
        repeats=args.repeats,
        own_window=args.own_window,
        settings={"device": args.device, "size": args.size},
    )
    print_memory(profiled(settings, Deadline(args.minutes), args.out))


if __name__ == "__main__":
    main()
