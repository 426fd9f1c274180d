"""What the planned bank saves on the embedded model, and what it costs.

    python -m tests.benchmarks.bank_budgets bytes
    python -m tests.benchmarks.bank_budgets precision --worlds 8
    python -m tests.benchmarks.bank_budgets budgets --traj figure-eight

`bytes` plans only: the bank against storing every key and value natively. `precision` plays two scripts in
held-out worlds whose first leg is given, with the bank in native float32, int8 and int4. `budgets` gives a
run 100, 50, 25 and 10% of the keys and values that full attention would keep on the device.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from core.bench.judge import Judge
from core.bench.scripts import QUALITY_SCRIPTS
from core.bench.setting import make_setting
from core.config import resolve
from core.errors import BudgetError
from core.generate import Job, prepare
from core.memory.row_bytes import Precision
from core.models.mini.model import MiniModel
from core.runlog import load_run
from core.schemas.bench_cell import Score
from trajectories import library_names

MIB = 1 << 20
WAYS: dict[str, dict[str, object]] = {
    "pose, 3 chunks": {"strategy": "pose", "retrieve": 3},
    "coverage, 3": {"strategy": "coverage", "retrieve": 3},
    "rays, 3 chunks' worth": {"strategy": "rays", "retrieve": 3},
    "rays, 1": {"strategy": "rays", "retrieve": 1},
    "rays, 1, int8": {"strategy": "rays", "retrieve": 1, "bank_precision": "int8"},
    "rays, 1, int4": {"strategy": "rays", "retrieve": 1, "bank_precision": "int4"},
}
AHEAD = "version: 1\nname: never-back\nsteps: [{move: {forward_units: 30, frames: 300}}]\n"
KINDS: dict[str, dict[str, object]] = {
    "rays, 135 tokens": {"tokens": 135},
    "pose, 3 whole chunks": {"strategy": "pose", "chunks": 3},
}
PRECISIONS: tuple[Precision, ...] = ("native", "int8", "int4")
PARTS = (1.0, 0.5, 0.25, 0.1)


def job_of(**settings: object) -> Job:
    return prepare(resolve({"model": "mini", "device": "cpu", **settings}, {}))


def bytes_table() -> None:
    """Bank in bfloat16 (int8 and int4 where said) over everything in bfloat16."""
    print("\n| trajectory | everything, MiB |" + "".join(f" {way} |" for way in WAYS))
    print("|---" * (2 + len(WAYS)) + "|")
    with tempfile.TemporaryDirectory() as folder:
        ahead = Path(folder, "never-back.yaml")
        ahead.write_text(AHEAD)
        for name in (*library_names(), str(ahead)):
            plans = [job_of(traj=name, dtype="bfloat16", **way).plan for way in WAYS.values()]
            everything = int(str(plans[0].summary()["bank_bytes_unmanaged"]))
            shares = "".join(f" {plan.bank_bytes / everything:.3f} |" for plan in plans)
            print(f"| {Path(name).stem} | {everything / MIB:.1f} |{shares}", flush=True)


def precision_table(num_worlds: int) -> None:
    """Against the truth, and first visit against revisit; gaps to native are paired over worlds."""
    judge = Judge(MiniModel.load(), num_worlds)
    print("\n| script | retrieval | bank | truth, dB | gap | revisit, dB | gap |\n" + "|---" * 7 + "|")
    for script in QUALITY_SCRIPTS[:2]:
        for kind, way in KINDS.items():
            native: Score | None = None
            for bank in PRECISIONS:
                setting = make_setting({"name": kind, "bank": bank, **way})
                score = judge.score(script, setting, given=True)
                native = native or score
                cells = (
                    f"{np.mean(ours):.2f} | {_gap(ours, theirs)}"
                    for ours, theirs in (
                        (score.measures[name], native.measures[name])
                        for name in ("truth_psnr_db", "self_psnr_db")
                    )
                )
                print(f"| {script.name} | {kind} | {bank} | {' | '.join(cells)} |", flush=True)


def _gap(ours: list[float], native: list[float]) -> str:
    gaps = np.subtract(ours, native)
    return f"{gaps.mean():+.2f} +- {2 * gaps.std(ddof=1) / len(gaps) ** 0.5:.2f}" if gaps.any() else ""


def budgets_table(traj: str) -> None:
    """One run for each budget, and full attention for comparison; each obeys."""
    full = job_of(traj=traj, memory="full")
    kept = full.placement.parts.device["window"]
    beside = full.placement.parts.device_bytes - kept
    print(
        "\n| K/V on the device | memory | bank: device, host, MiB | predicted, MiB | measured | "
        "read from host, MiB a chunk | ms a chunk | stalled | revisit, dB |\n" + "|---" * 9 + "|"
    )
    with tempfile.TemporaryDirectory() as folder:
        for part in PARTS:
            for memory, settings in _fitting(traj, beside + int(part * kept)):
                out = Path(folder, f"{memory}-{part}")
                job = job_of(traj=traj, out=out, **settings)
                job.run()
                print(f"| {part:.0%} | {memory} | {_row(job, out)} |", flush=True)


def _fitting(traj: str, budget: int) -> Iterator[tuple[str, dict[str, object]]]:
    for settings in (
        {"memory": "full"},
        {"memory": "worldkv"},
        {"memory": "worldkv", "retrieve": 1},
        {"memory": "worldkv", "bank_precision": "int8"},
    ):
        words = ", ".join(str(value) for value in settings.values())
        try:
            job_of(traj=traj, vram_budget=budget, **settings)
        except BudgetError:
            continue
        yield words, {**settings, "vram_budget": budget}


def _row(job: Job, out: Path) -> str:
    log, plan, parts = load_run(out / "run.json"), job.plan, job.placement.parts
    chunks = log.chunks[1:]
    tiers = f"{plan.tier_bytes['device'] / MIB:.1f}, {plan.tier_bytes['host'] / MIB:.1f}"
    read = sum(chunk.read_bytes.host for chunk in chunks) / len(chunks) / MIB
    times = np.median([chunk.ms.retrieve + chunk.ms.denoise + chunk.ms.commit for chunk in chunks])
    stall = np.mean([chunk.stall_ms for chunk in chunks])
    psnr = log.fidelity.psnr_db if log.fidelity else float("nan")
    peak = log.totals.peak_device_bytes / MIB
    return (
        f"{tiers} | {parts.device_bytes / MIB:.1f} | {peak:.1f} | {read:.2f} | {times:.0f} | "
        f"{stall:.1f} ms | {psnr:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("bytes", "precision", "budgets"))
    parser.add_argument("--worlds", type=int, default=8)
    parser.add_argument("--traj", default="figure-eight")
    args = parser.parse_args()
    if args.what == "bytes":
        bytes_table()
    elif args.what == "precision":
        precision_table(args.worlds)
    else:
        budgets_table(args.traj)


if __name__ == "__main__":
    main()
