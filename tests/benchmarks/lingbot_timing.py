"""Chunks of several memory modes, timed: each alone in its real memory, and in turns side by side."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch

from core.memory.plan import MemoryPlan
from core.memory.window import Window
from core.memory.world_memory import WorldMemory
from core.models.base import Controls
from core.noise import seeded_noise
from core.rollout import ChunkResult, rollout
from core.sampler import NoiseLevels

STAGES = ("retrieve", "denoise", "commit", "decode")
LATENT_CHANNELS = 16


class Deadline:
    """Says when to stop."""

    def __init__(self, minutes: float) -> None:
        self._began, self._seconds = time.perf_counter(), 60 * minutes

    @property
    def spent_s(self) -> float:
        return time.perf_counter() - self._began

    def passed(self, ahead_s: float = 0.0) -> bool:
        """Whether what takes `ahead_s` would end too late."""
        return self.spent_s + ahead_s > self._seconds

    def note(self, text: str) -> None:
        print(f"[{self.spent_s:6.1f} s] {text}", file=sys.stderr, flush=True)


@dataclass
class Measured:
    """Milliseconds of the stages of every chunk that ran."""

    chunks: dict[int, dict[str, float]] = field(default_factory=dict)

    def median_ms(self, stage: str, chunks: Sequence[int] | None = None) -> float | None:
        taken = [
            ms[stage]
            for chunk, ms in self.chunks.items()
            if stage in ms and (chunks is None or chunk in chunks)
        ]
        return statistics.median(taken) if taken else None

    def chunk_ms(self, chunks: Sequence[int] | None = None) -> float | None:
        """Median of retrieving, denoising and committing together."""
        taken = [
            sum(ms[stage] for stage in STAGES[:3])
            for chunk, ms in self.chunks.items()
            if chunks is None or chunk in chunks
        ]
        return statistics.median(taken) if taken else None


@dataclass(frozen=True)
class Stage:
    """What all modes share."""

    controls: Controls
    device: torch.device
    dtype: torch.dtype
    latent_size: tuple[int, int]
    levels: NoiseLevels

    def chunks(self, plan: MemoryPlan, memory: WorldMemory, wanted: Sequence[int]) -> Iterator[ChunkResult]:
        """Some chunks of a rollout, through the engine's own loop; the ones between are jumped over."""
        steps = tuple(plan.steps[chunk] for chunk in wanted)
        shape = (1, LATENT_CHANNELS, plan.layout.chunk_frames, *self.latent_size)
        return rollout(
            self.controls,
            replace(plan, steps=steps),
            memory,
            levels=self.levels,
            noise=seeded_noise(0, shape, self.device),
        )

    def memory(self, plan: MemoryPlan, *, tier: str = "device", share_layers: bool = False) -> WorldMemory:
        """A window and a bank full of noise, so that a rollout can begin anywhere.

        Args:
            plan: What happens at every chunk.
            tier: Where the bank lies. On the host, all layers share one layer's: the device sees no
                difference, and no machine lacks the memory.
            share_layers: Let all layers write and read one layer's memory on the device, too. It does not fit
                any caches of the chip, so that reading it takes what reading 40 of them takes; but of several
                modes, or of one that is too large, all keys fit on the device.
        """
        whole = plan.footprint
        shares_bank = share_layers or tier == "host"
        held = replace(plan, footprint=replace(whole, num_layers=1)) if shares_bank else plan
        memory = WorldMemory(held, device=self.device, dtype=self.dtype, tier=tier)
        memory.plan = plan
        if shares_bank and not share_layers:
            memory.window = Window(whole, plan.window_tokens, device=self.device, dtype=self.dtype)
        for part in (memory.window, memory.bank):
            for name in ("keys", "values"):
                tensor = getattr(part, name)
                if tensor.device.type == self.device.type:
                    tensor.normal_()
                if len(tensor) == 1:
                    setattr(part, name, tensor.expand(whole.num_layers, *tensor.shape[1:]))
        return memory


def timings_of(result: ChunkResult) -> dict[str, float]:
    ms = result.timings
    return {"retrieve": ms.retrieve_ms, "denoise": ms.denoise_ms, "commit": ms.commit_ms}


def decode_timed(decoder, latents: torch.Tensor) -> float:
    """Milliseconds of decoding; the pictures come back to the host, so nothing is left to wait for."""
    began = time.perf_counter()
    frames = decoder.push(latents)
    if not frames.any():
        raise RuntimeError("the pictures are black: the random network gives numbers that are not finite")
    return (time.perf_counter() - began) * 1e3


def in_turns(
    stage: Stage,
    plans: dict[str, MemoryPlan],
    probes: Sequence[Sequence[int]],
    deadline: Deadline,
) -> dict[str, Measured]:
    """All modes in turn, chunk by chunk (A B C D, A B C D, ...), with one layer's memory for all layers.

    Args:
        stage: What they share.
        plans: By mode.
        probes: Runs of chunks; what lies between is jumped over.
        deadline: When to stop.
    """
    wanted = [chunk for probe in probes for chunk in probe]
    running = {
        mode: stage.chunks(plan, stage.memory(plan, share_layers=True), [wanted[0], *wanted])
        for mode, plan in plans.items()
    }
    measured = {mode: Measured() for mode in plans}
    for results in running.values():  # the first chunk twice: kernels are chosen, memory is taken
        next(results)
    for chunk in wanted:
        if deadline.passed():
            deadline.note(f"time is up before chunk {chunk} of the rounds")
            return measured
        for mode, results in running.items():
            measured[mode].chunks[chunk] = timings_of(next(results))
        told = ", ".join(f"{mode} {measured[mode].chunk_ms([chunk]):.0f} ms" for mode in plans)
        deadline.note(f"in turns, chunk {chunk}: {told}")
    return measured
