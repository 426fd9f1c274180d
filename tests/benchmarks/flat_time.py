"""Is the time of a chunk, and the memory of the process, flat in rollout length?

    worldkv generate --traj long-patrol --out runs/patrol
    python -m tests.benchmarks.flat_time runs/patrol --early 20 --late 600

Compares medians over a few chunks around two places of one run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from core.runlog import read_chunks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--early", type=int, default=20)
    parser.add_argument("--late", type=int, default=600)
    parser.add_argument("--width", type=int, default=20, help="chunks on which each median stands")
    args = parser.parse_args()
    records = list(read_chunks(args.run / "chunks.jsonl"))
    early = records[args.early : args.early + args.width]
    late = records[args.late - args.width : args.late]
    if len(late) < args.width:
        sys.exit(f"the run has only {len(records)} chunks")
    for name, value in (
        ("retrieve", lambda r: r.ms.retrieve),
        ("denoise", lambda r: r.ms.denoise),
        ("commit", lambda r: r.ms.commit),
        ("retrieve + denoise + commit", lambda r: r.ms.retrieve + r.ms.denoise + r.ms.commit),
        ("wall", lambda r: r.wall_ms),
    ):
        a, b = (statistics.median(map(value, part)) for part in (early, late))
        print(f"{name:28} {a:8.2f} ms at {args.early}, {b:8.2f} ms at {args.late}, ratio {b / a:.3f}")
    a, b = (max(r.host_bytes for r in part) for part in (early, late))
    print(
        f"{'resident memory':28} {a / 1e6:8.1f} MB at {args.early}, {b / 1e6:8.1f} MB, growth {b / a - 1:.1%}"
    )


if __name__ == "__main__":
    main()
