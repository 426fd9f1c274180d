"""The real model's network at full width with random weights: frames a second, memory against the prediction.

    python -m tests.benchmarks.lingbot_full                                          # on a GPU of 80 GB
    python -m tests.benchmarks.lingbot_full --device cpu --width-scale 0.05 --chunks 12 --budget 2GiB
    python -m tests.benchmarks.lingbot_full --mid                                    # on a CPU

First all modes run the same nine chunks in turn (three each a quarter, half, and all the way through the
rollout; what lies between is jumped over, with noise in the window), with one layer's keys and values for all
layers: two windows of 23 GB do not fit beside the weights, and the 153 GB of full attention over 40 chunks
fit nowhere. Then every mode runs alone, in its real memory under the budget, with decoding: worldkv all
chunks, the others nine. Full attention, alone, runs in a rollout of as many chunks as fit with the weights on
the device.

On an H100, 40 chunks at 832x480 should take 6 to 7 minutes. A chunk takes 0.7e15 operations in linear layers
and 0.5e15 in attention to 18 frames (3.6e15 to all 120 frames at the end): 2.7 s at 450 TFLOP/s, as the
paper's 4.8 frames a second say; decoding 1 to 1.5 s. That makes 10 x (4 x 2.7 s + 5.5 s) in turns, 40 x 4 s
for worldkv alone, 4 x 9 x 3.5 s for the others, and half a minute for weights and the picture. `--minutes`
ends it in time, with what is there.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
from pathlib import Path
from typing import Any

import torch
from pydantic import ByteSize, TypeAdapter

from core.errors import BudgetError
from core.models.lingbot.controls import LingBotControls
from core.models.lingbot.session import SHIFT
from core.models.wan.codec import StreamingDecoder
from core.models.wan.codec_condition import PictureCondition
from core.models.wan.first_picture import FirstPicture
from core.models.wan.network import WanNetwork
from core.models.wan.size import parse_size
from core.models.wan.weights import held_bytes
from core.placement import Placement
from core.sampler import NoiseLevels
from tests.benchmarks import lingbot_mid
from tests.benchmarks.lingbot_parity import RUNS, relative_rms
from tests.benchmarks.lingbot_parts import CHUNK_FRAMES, MODES, Case, random_network, random_vae, scaled
from tests.benchmarks.lingbot_tables import print_alone, print_in_turns
from tests.benchmarks.lingbot_timing import (
    STAGES,
    Deadline,
    Measured,
    Stage,
    decode_timed,
    in_turns,
    timings_of,
)

GIB = 1 << 30


class Bench:
    """Everything that outlives a mode."""

    def __init__(self, case: Case, device: torch.device, deadline: Deadline) -> None:
        self.case, self.device, self.deadline = case, device, deadline
        self.vae = random_vae(case.vae, device)
        width, height = case.size
        generator = torch.Generator().manual_seed(0)
        first = torch.rand(1, 3, height, width, generator=generator).to(device) * 2 - 1
        self.picture = FirstPicture(PictureCondition(self.vae, first), case.path.viewpoints.num_frames)
        self._network: WanNetwork | None = None
        self._placement: object = None
        deadline.note("codec and picture are there")

    def stage(self, placement: Placement) -> Stage:
        """Network and conditioning as a placement wants them; weights are kept if they can be."""
        case, weights = self.case, placement.turns.weights
        if self._network is None or self._placement != weights:
            self._network = None
            clear(self.device)
            self._network = random_network(case.network, weights, self.device, case.dtype)
            self._placement = weights
            held = held_bytes(self._network)
            self.deadline.note(
                f"weights: {held.device / GIB:.2f} GiB on the device, {held.host / GIB:.2f} on the host"
            )
        context = torch.zeros(
            1, case.network.text_tokens, case.network.text_dim, device=self.device
        ).normal_()
        controls = LingBotControls(
            self._network, case.path, self.picture, context, camera_ready=placement.turns.camera_ready
        )
        rows, cols = case.path.grid
        return Stage(controls, self.device, case.dtype, (2 * rows, 2 * cols), NoiseLevels.from_table(SHIFT))


def alone(bench: Bench, mode: str) -> dict[str, Any]:
    """One mode in its real memory, with decoding: timings, and peak against prediction."""
    case, chunks = bench.case, bench.case.num_chunks
    told: dict[str, Any] = {"mode": mode}
    try:
        plan, placement = case.placed(mode)
    except BudgetError as error:
        told["refused"] = error.problem
        chunks = case.longest(mode)
        bench.deadline.note(f"{mode}: {error.problem}")
        if not chunks:
            return told
        plan, placement = case.placed(mode, chunks)
    wanted = list(range(chunks)) if mode == "worldkv" else [c for probe in probes(chunks) for c in probe]
    stage, turns = bench.stage(placement), placement.turns
    clear(bench.device)
    reset_peak(bench.device)
    memory = stage.memory(plan, tier=turns.bank)
    decoder = StreamingDecoder(
        bench.vae, tile=turns.decode_tile, tile_caches_on_host=turns.decode_tile is not None
    )
    measured, results = Measured(), stage.chunks(plan, memory, wanted)
    for chunk in wanted:
        if bench.deadline.passed():
            bench.deadline.note(f"time is up before chunk {chunk} of {mode}")
            break
        result = next(results)
        decode_ms = decode_timed(decoder, result.latents)
        measured.chunks[chunk] = {**timings_of(result), "decode": decode_ms}
        ms = ", ".join(f"{stage} {measured.chunks[chunk][stage]:.0f}" for stage in STAGES)
        bench.deadline.note(f"{mode} alone, chunk {chunk}: {ms} ms")
    parts = placement.parts
    running = sum(parts.device.values()) + max(parts.transient.values())
    return told | {
        "chunks_of_the_rollout": chunks,
        "chunks_run": list(measured.chunks),
        "turns": placement.turns.words,
        "predicted": {"device": running, "window": plan.window_bytes, "bank": plan.bank_bytes},
        "peak": peaks(bench.device),
        "measured": measured,
    }


def side_by_side(bench: Bench, modes: list[str]) -> dict[str, Measured]:
    """All modes in turn, with the weights where the first mode that fits wants them."""
    for mode in modes:
        try:
            _, placement = bench.case.placed(mode)
        except BudgetError:
            continue
        plans = {name: bench.case.plan(name) for name in modes}
        bench.deadline.note("plans are there")
        return in_turns(bench.stage(placement), plans, probes(bench.case.num_chunks), bench.deadline)
    return {}


def probes(num_chunks: int) -> list[list[int]]:
    """Three chunks each a quarter, half, and all the way through a rollout; fewer if it is short."""
    starts = sorted(
        {max(0, min(center, num_chunks - 2) - 1) for center in (num_chunks // 4, num_chunks // 2, num_chunks)}
    )
    found: list[list[int]] = []
    for start in starts:
        taken = {chunk for probe in found for chunk in probe}
        found.append([c for c in range(start, min(start + 3, num_chunks)) if c not in taken])
    return [probe for probe in found if probe]


def clear(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()


def reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peaks(device: torch.device) -> dict[str, int] | None:
    """Bytes of tensors, and of what torch holds for them; unknown on the CPU."""
    if device.type != "cuda":
        return None
    return {
        "allocated": torch.cuda.max_memory_allocated(device),
        "reserved": torch.cuda.max_memory_reserved(device),
    }


def print_parity(device: torch.device) -> dict[str, tuple[float, float]]:
    print("\nbfloat16 against float32, tiny golden network: relative rms of the clean latents")
    figures = {name: relative_rms(name, device) for name in RUNS}
    for name, (first, every) in figures.items():
        print(f"{name:14} first chunk {first:.4f}, all chunks {every:.4f}")
    return figures


def plain(value: object) -> object:
    if isinstance(value, Measured):
        return {str(chunk): ms for chunk, ms in value.chunks.items()}
    raise TypeError(f"{type(value)} in the results")


def run(args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    network, vae = scaled(args.width_scale)
    budget = int(TypeAdapter(ByteSize).validate_python(args.budget))
    size = parse_size(args.size, where="--size")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    case, deadline = Case(network, vae, size, args.chunks, dtype, budget), Deadline(args.minutes)
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu"
    print(
        f"{network.num_parameters / 1e9:.2f} B parameters ({network.num_layers} layers of {network.dim}), "
        f"{dtype}, {args.size}, {args.chunks} chunks of {CHUNK_FRAMES} latent frames, budget {args.budget}, "
        f"{chip}, torch {torch.__version__}"
    )
    parity = print_parity(device)
    bench = Bench(case, device, deadline)
    turns = side_by_side(bench, args.modes)
    runs = []
    for mode in args.modes:
        clear(device)
        if not deadline.passed():
            runs.append(alone(bench, mode))
    decoded = [
        run["measured"].median_ms("decode", run["chunks_run"][1:]) for run in runs if "measured" in run
    ]
    decode_ms = min((ms for ms in decoded if ms is not None), default=None)
    print_in_turns(turns, probes(args.chunks), decode_ms)
    print_alone(runs)
    print(f"\n{deadline.spent_s:.0f} s in all")
    return {"parity": parity, "alone": runs, "in_turns": turns, "seconds": deadline.spent_s}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--width-scale", type=float, default=1.0, help="share of width, layers and codec channels"
    )
    parser.add_argument("--size", default="832x480")
    parser.add_argument("--chunks", type=int, default=40)
    parser.add_argument("--budget", default="72GiB", help="what --vram-budget would say")
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES)
    parser.add_argument("--minutes", type=float, default=7.5, help="begin no chunk after so long")
    parser.add_argument("--json", type=Path, help="write all numbers there")
    parser.add_argument("--mid", action="store_true", help="the mid-size network instead, in float32")
    parser.add_argument("--profile", action="store_true", help="with --mid: where the time goes")
    args = parser.parse_args()
    if args.chunks < 6:
        parser.error("nothing is retrieved in fewer than 6 chunks")
    device = torch.device(args.device)
    if args.mid:
        results = lingbot_mid.run(device, Deadline(args.minutes), args.chunks, profiled=args.profile)
    else:
        results = run(args, device)
    if args.json is not None:
        args.json.write_text(json.dumps(results, default=plain, indent=2))


if __name__ == "__main__":
    main()
