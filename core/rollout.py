"""The rollout: chunk by chunk, retrieve, denoise, commit. Decoding, writing and logging stay outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from core.memory.plan import MemoryPlan
from core.memory.step import ChunkStep
from core.memory.world_memory import ChunkCache, WorldMemory
from core.models.base import Controls, Denoiser
from core.noise import NoiseSource
from core.sampler import NoiseLevels, denoise

GivenLatents = Callable[[int], Tensor | None]
"""Clean latents of a chunk that is given rather than generated, or None."""


Commit = Literal["clean", "last"]
"""Which pass writes what is remembered: one more, over the clean latents, or the sampler's last."""


@dataclass(frozen=True)
class ChunkTimings:
    """Milliseconds of each stage of one chunk; `stall_ms` of them were spent waiting for the bank.

    What the sampler's last pass writes when it is the one that commits counts as denoising.
    """

    retrieve_ms: float
    denoise_ms: float
    commit_ms: float
    stall_ms: float = 0.0


@dataclass(frozen=True)
class ChunkResult:
    """A finished chunk.

    Attributes:
        latents: Clean latents.
        step: What the memory did.
        given: Whether the latents were given, not generated.
        timings: How long each stage took.
    """

    latents: Float[Tensor, "batch channels frames h w"]
    step: ChunkStep
    given: bool
    timings: ChunkTimings


class _Stopwatch:
    """Time between marks; waits for the device first, once a stage and never inside one."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._last = self._now()

    def lap_ms(self) -> float:
        now = self._now()
        elapsed, self._last = now - self._last, now
        return elapsed * 1e3

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()  # copies beside it go on
        return time.perf_counter()


@torch.inference_mode()
def rollout(
    controls: Controls,
    plan: MemoryPlan,
    memory: WorldMemory,
    *,
    levels: NoiseLevels,
    noise: NoiseSource,
    given: GivenLatents | None = None,
    commit: Commit = "clean",
) -> Iterator[ChunkResult]:
    """Generate a video's latents, one chunk at a time.

    Args:
        controls: Conditioning of every chunk.
        plan: What the memory does at every chunk.
        memory: Window and bank, empty at the start.
        levels: Noise levels of the sampler.
        noise: Draws by chunk.
        given: Latents of chunks that are not generated but known (a prefix); they pass the clean pass alone.
        commit: Which pass writes what is remembered of a generated chunk.
    """
    for step in plan.steps:
        watch = _Stopwatch(memory.device)
        cache = memory.begin(step)
        retrieve_ms = watch.lap_ms()
        model = controls.chunk(step.chunk)
        latents = given(step.chunk) if given is not None else None
        is_given = latents is not None
        if latents is None:
            committing = partial(memory.commit_cache, step) if commit == "last" else None
            latents = _generate(model, cache, committing, levels, partial(noise, step.chunk))
        denoise_ms = watch.lap_ms()
        if is_given or commit == "clean":
            model.flow(latents, 0.0, memory.commit_cache(step))
        del model, cache  # what is ready for one chunk makes room before the next one's is made
        timings = ChunkTimings(retrieve_ms, denoise_ms, watch.lap_ms(), memory.waited_ms())
        yield ChunkResult(latents, step, is_given, timings)


def _generate(
    model: Denoiser,
    cache: ChunkCache,
    committing: Callable[[], ChunkCache] | None,
    levels: NoiseLevels,
    draw: Callable[[int], Tensor],
) -> Float[Tensor, "batch channels frames h w"]:
    """Denoise the chunk that model and cache are bound to; `committing` makes another for the last pass."""

    def flow(x: Tensor, step: int) -> Tensor:
        is_last = step + 1 == levels.num_steps
        seen = committing() if is_last and committing is not None else cache
        return model.flow(x, levels.timesteps[step], seen)

    return denoise(flow, draw(0), levels, lambda i: draw(i + 1))
