"""Matrix-Game's universal network at full width with random weights: frames a second, memory, long rollouts.

    python -m tests.benchmarks.matrix_game_full                                      # on a GPU of 80 GB
    python -m tests.benchmarks.matrix_game_full --device cpu --width-scale 0.1 --size 96x64 --chunks 12

Every memory mode runs a whole rollout in its real memory, with decoding: no chunk is jumped over, as one
takes a fraction of a second. The path is rounds of the library's loop, as keys and mouse, with the positions,
sink and native window of a user's run; `sliding` is the released setting. Peak memory is told beside the
prediction, and the time of late chunks over that of early ones.
"""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pydantic import ByteSize, TypeAdapter

from core.errors import BudgetError
from core.memory.footprint import Footprint
from core.memory.layout import MemoryMode, WindowLayout
from core.memory.plan import MemoryPlan
from core.memory.planner import plan_memory
from core.memory.positions import PositionMode, sink_follows
from core.memory.strategies import strategy
from core.memory.viewpoints import Viewpoints
from core.memory.world_memory import WorldMemory
from core.models.matrix_game.actions import ActionTracks, action_tracks
from core.models.matrix_game.config import ACTION_HEAD_DIM, find_variant
from core.models.matrix_game.controls import MatrixGameControls
from core.models.matrix_game.needs import Needs
from core.models.matrix_game.session import SHIFT, SINK_FRAMES, STEP_PX, TrackActions
from core.models.matrix_game.viewpoints import dead_reckoned_viewpoints
from core.models.wan.clip_config import CLIP_VIT_H
from core.models.wan.codec import StreamingDecoder
from core.models.wan.codec_condition import PictureCondition
from core.models.wan.config import ActionConfig, WanConfig
from core.models.wan.first_picture import FirstPicture
from core.models.wan.size import parse_size
from core.models.wan.vae_config import WAN_VAE, VaeConfig
from core.models.wan.weights_placement import WeightPlacement
from core.noise import seeded_noise
from core.placement import Budgets, Placement, choose_placement
from core.rollout import rollout
from core.sampler import NoiseLevels
from tests.benchmarks.lingbot_full import clear, peaks, plain, reset_peak
from tests.benchmarks.lingbot_parts import CHUNK_FRAMES, HEAD_DIM, loops, random_network, random_vae
from tests.benchmarks.lingbot_tables import print_alone
from tests.benchmarks.lingbot_timing import Deadline, Measured, decode_timed, timings_of

UNIVERSAL = find_variant("universal")
RETRIEVED_CHUNKS = 3
MODES = ("worldkv", "worldkv-rays", "sink", "sliding", "full")
EARLY = range(8, 20)
"""Chunks whose time is compared with that of the last ones."""


def scaled(share: float) -> tuple[WanConfig, VaeConfig]:
    """Network and codec of the real sizes, or narrower and shallower; heads keep their width."""
    heads, layers = max(1, round(12 * share)), max(4, round(30 * share))
    network = WanConfig(
        dim=heads * HEAD_DIM,
        ffn_dim=max(1, round(8960 * share / 8)) * 8,
        num_heads=heads,
        num_layers=layers,
        in_channels=36,
        out_channels=16,
        image_dim=CLIP_VIT_H.dim,
        actions=ActionConfig(
            layers=tuple(range(layers // 2)),
            num_heads=max(1, round(16 * share)),
            head_dim=ACTION_HEAD_DIM,
            keyboard_dim=UNIVERSAL.keyboard_dim,
            keyboard_embedding=128,
            mouse=UNIVERSAL.mouse,
        ),
    )
    return network, replace(WAN_VAE, base_dim=max(4, round(WAN_VAE.base_dim * share / 4) * 4))


@dataclass(frozen=True)
class Case:
    """What is benchmarked, without a byte of weights."""

    network: WanConfig
    vae: VaeConfig
    size: tuple[int, int]
    num_chunks: int
    dtype: torch.dtype
    budget: int | None

    @cached_property
    def tracks(self) -> ActionTracks:
        return action_tracks(loops(self.num_chunks), UNIVERSAL.name)

    @cached_property
    def views(self) -> Viewpoints:
        return dead_reckoned_viewpoints(self.tracks, grid=self.grid, size=self.size)

    @property
    def grid(self) -> tuple[int, int]:
        return self.size[1] // STEP_PX, self.size[0] // STEP_PX

    def plan(self, mode: str) -> MemoryPlan:
        retrieves, views = mode.startswith("worldkv"), self.views
        layout = WindowLayout(
            mode=MemoryMode(mode.partition("-")[0]),
            num_frames=views.num_frames,
            tokens_per_frame=views.tokens_per_frame,
            sink_frames=SINK_FRAMES if mode not in ("full", "sliding") else 0,
            recent_frames=0 if mode == "full" else UNIVERSAL.window_frames - CHUNK_FRAMES,
            retrieve_tokens=RETRIEVED_CHUNKS * views.tokens_per_chunk if retrieves else 0,
        )
        footprint = Footprint(
            num_layers=self.network.num_layers,
            num_heads=self.network.num_heads,
            head_dim=self.network.head_dim,
            grid=self.grid,
            kv_element_bytes=self.dtype.itemsize,
            parameter_bytes=self.network.num_parameters * self.dtype.itemsize,
        )
        rays, pose = strategy("rays")(), strategy("pose")(num_chunks=RETRIEVED_CHUNKS)
        chooser = (rays if mode.endswith("rays") else pose) if retrieves else None
        return plan_memory(
            views,
            footprint=footprint,
            layout=layout,
            strategy=chooser,
            reinsert_all=PositionMode.SLOT.moves,
        )

    def placed(self, plan: MemoryPlan) -> Placement:
        """Where everything lies under the budget.

        Raises:
            BudgetError: It does not fit.
        """
        reach = UNIVERSAL.window_frames
        needs = Needs(
            network=self.network,
            vae=self.vae,
            clip=CLIP_VIT_H,
            size=self.size,
            decode_dtype=torch.float32,
            action_frames=reach,
            encodes=False,
            sink_follows=sink_follows(PositionMode.SLOT, plan.layout, trained_frames=reach),
        )
        options = needs.options(plan, self.dtype, bank=None)
        return choose_placement(options, Budgets(self.budget), plan, ways_out=())


class Bench:
    """Everything that outlives a mode."""

    def __init__(self, case: Case, device: torch.device, deadline: Deadline) -> None:
        self.case, self.device, self.deadline = case, device, deadline
        self.vae = random_vae(case.vae, device)
        width, height = case.size
        generator = torch.Generator().manual_seed(0)
        first = torch.rand(1, 3, height, width, generator=generator).to(device) * 2 - 1
        self.picture = FirstPicture(PictureCondition(self.vae, first), case.views.num_frames)
        self.visual = torch.randn(1, CLIP_VIT_H.num_tokens, CLIP_VIT_H.dim, generator=generator).to(device)
        self.network = random_network(case.network, WeightPlacement(), device, case.dtype)
        deadline.note("codec, picture and weights are there")

    def controls(self) -> MatrixGameControls:
        """With action caches of its own."""
        return MatrixGameControls(
            self.network,
            self.case.views,
            self.picture,
            TrackActions(self.case.tracks),
            self.visual,
            action_frames=UNIVERSAL.window_frames,
        )

    def run(self, mode: str) -> dict[str, Any]:
        """A whole rollout of a mode: timings, and peak against prediction."""
        case, device = self.case, self.device
        plan = case.plan(mode)
        try:
            placement = case.placed(plan)
        except BudgetError as error:
            return {"mode": mode, "refused": error.problem}
        clear(device)
        reset_peak(device)
        tile, measured = placement.turns.decode_tile, Measured()
        memory = WorldMemory(
            plan,
            positions=PositionMode.SLOT,
            trained_frames=UNIVERSAL.window_frames,
            device=device,
            dtype=case.dtype,
            tier=placement.turns.bank,
        )
        rows, cols = case.grid
        shape = (1, case.vae.z_dim, CHUNK_FRAMES, 2 * rows, 2 * cols)
        results = rollout(
            self.controls(),
            plan,
            memory,
            levels=NoiseLevels.from_steps(UNIVERSAL.denoising_steps, SHIFT),
            noise=seeded_noise(0, shape, device),
        )
        decoder = StreamingDecoder(self.vae, tile=tile, tile_caches_on_host=tile is not None)
        for result in results:
            decode_ms = decode_timed(decoder, result.latents)
            chunk = result.step.chunk
            measured.chunks[chunk] = {**timings_of(result), "decode": decode_ms}
            if self.deadline.passed():
                self.deadline.note(f"time is up after chunk {chunk} of {mode}")
                break
        self.deadline.note(f"{mode}: {len(measured.chunks)} chunks")
        return self._told(mode, plan, placement, measured)

    def _told(self, mode: str, plan: MemoryPlan, placement: Placement, measured: Measured) -> dict[str, Any]:
        parts = placement.parts
        return {
            "mode": mode,
            "chunks_of_the_rollout": self.case.num_chunks,
            "chunks_run": list(measured.chunks),
            "turns": placement.turns.words,
            "predicted": {
                "device": sum(parts.device.values()) + max(parts.transient.values()),
                "window": plan.window_bytes,
                "bank": plan.bank_bytes,
            },
            "peak": peaks(self.device),
            "measured": measured,
        }


def print_flatness(runs: list[dict[str, Any]]) -> None:
    print("\ntime of a chunk without decoding, late over early (medians in ms)")
    for run in runs:
        ran = run.get("chunks_run", [])
        late = [chunk for chunk in ran[-len(EARLY) :] if chunk not in EARLY]
        if not late or not set(EARLY) & set(ran):
            continue
        first, last = (run["measured"].chunk_ms(chunks) for chunks in (list(EARLY), late))
        told = f"chunks {EARLY.start}-{EARLY.stop - 1} {first:9.1f}, {late[0]}-{late[-1]} {last:9.1f}"
        print(f"{run['mode']:14} {told}, ratio {last / first:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--width-scale", type=float, default=1.0, help="share of width, layers and codec channels"
    )
    parser.add_argument("--size", default="640x352")
    parser.add_argument("--chunks", type=int, default=100)
    parser.add_argument("--budget", default="72GiB", help="what --vram-budget would say")
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES)
    parser.add_argument("--minutes", type=float, default=9.0, help="begin no chunk after so long")
    parser.add_argument("--json", type=Path, help="write all numbers there")
    args = parser.parse_args()
    device = torch.device(args.device)
    network, vae = scaled(args.width_scale)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    budget = int(TypeAdapter(ByteSize).validate_python(args.budget))
    case = Case(network, vae, parse_size(args.size, where="--size"), args.chunks, dtype, budget)
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu"
    print(
        f"{network.num_parameters / 1e9:.3f} B parameters ({network.num_layers} layers of {network.dim}), "
        f"{dtype}, {args.size}, {args.chunks} chunks, budget {args.budget}, {chip}, torch {torch.__version__}"
    )
    deadline = Deadline(args.minutes)
    bench = Bench(case, device, deadline)
    runs = [bench.run(mode) for mode in args.modes if not deadline.passed()]
    print_alone(runs)
    print_flatness(runs)
    print(f"\n{deadline.spent_s:.0f} s in all")
    if args.json is not None:
        args.json.write_text(
            json.dumps({"alone": runs, "seconds": deadline.spent_s}, default=plain, indent=2)
        )


if __name__ == "__main__":
    main()
