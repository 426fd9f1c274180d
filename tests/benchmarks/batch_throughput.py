"""How much faster is a batch than the same rollouts one after the other? mini, CPU.

    python -m tests.benchmarks.batch_throughput [--jobs 16] [--workers 2] [--rounds 2] [--traj short]

Both are run as a user runs them, as commands, in turns, so that what else the machine does hits both alike.
Wall time is the answer where the machine has nothing else to do; CPU time (of the command and all its
children) holds on a shared one, too, but knows nothing of working side by side.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

_CODE = "from worldkv_cli.main import run\nif __name__ == '__main__':\n    run()"
_SHORT = "version: 1\nname: short\nsteps:\n  - turn: {yaw_deg: 40, frames: 23}\n"


@dataclass(frozen=True)
class Spent:
    """What some commands took, in seconds."""

    wall_s: float
    cpu_s: float


def worldkv(*arguments: object) -> str:
    """Run a command; its stdout."""
    command = [sys.executable, "-c", _CODE, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout


def measured(commands: list[tuple[object, ...]]) -> tuple[Spent, str]:
    """What commands take one after the other, and what the last one said."""
    before, began, said = _children_s(), time.perf_counter(), ""
    for command in commands:
        said = worldkv(*command)
    return Spent(time.perf_counter() - began, _children_s() - before), said


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--traj", default="short", help="a library name, or short: 8 chunks")
    args = parser.parse_args()
    spent: dict[str, list[Spent]] = {"generate": [], "batch": []}
    loads = 0
    for turn in range(args.rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            traj = args.traj
            if traj == "short":
                traj = str(folder / "short.yaml")
                Path(traj).write_text(_SHORT)
            manifest = folder / "batch.yaml"
            settings = f"defaults: {{traj: {traj}, scale: 1}}\nmatrix: {{seed: 0..{args.jobs - 1}}}\n"
            manifest.write_text(f"version: 1\n{settings}")
            alone = [
                ("generate", "--traj", traj, "--scale", 1, "--seed", seed, "--out", folder / str(seed), "-q")
                for seed in range(args.jobs)
            ]
            together = [("batch", "run", manifest, "-n", args.workers, "--json")]
            for kind, commands in (("generate", alone), ("batch", together)):
                took, said = measured(list(commands))
                spent[kind].append(took)
                print(
                    f"round {turn + 1}, {kind}: {took.wall_s:.1f} s wall, {took.cpu_s:.1f} s CPU", flush=True
                )
            told = json.loads(said)
            loads = told["num_loads"]
            if told["counts"]["done"] != args.jobs:
                raise SystemExit(f"not all jobs are done: {told['counts']}")
    wall, cpu = (
        {kind: sum(getattr(each, what) for each in spent[kind]) for kind in spent}
        for what in ("wall_s", "cpu_s")
    )
    print(f"{args.jobs} jobs, {args.workers} workers, {loads} loads of the weights")
    print(f"wall: {wall['generate'] / wall['batch']:.2f} times as fast")
    print(f"CPU:  {cpu['generate'] / cpu['batch']:.2f} times less")


if __name__ == "__main__":
    main()
