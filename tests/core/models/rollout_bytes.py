"""What a prepared rollout takes while it runs, beside what was said of it.

On the CPU small attention makes whole tables of scores; `fuse_attention` makes it as on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F

from core.generate import Job
from core.memory.world_memory import WorldMemory
from core.noise import seeded_noise
from core.placement import Parts, Turns
from core.rollout import rollout
from tests.core.models.wan.live_bytes import LiveBytes

USERS = ("core.models.wan.block", "core.models.wan.action", "core.memory.world_memory")


def fuse_attention(patch: pytest.MonkeyPatch) -> None:
    def attention(q, k, v):
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)

    for user in USERS:
        patch.setattr(f"{user}.attention", attention)


@dataclass(frozen=True)
class Peaks:
    """Bytes of the tensors alive at the peak: while parts load, in the passes, with decoding."""

    loading: int
    passes: int
    decoding: int

    @property
    def highest(self) -> int:
        return max(self.loading, self.passes, self.decoding)


def rollout_peaks(job: Job, turns: Turns) -> Peaks:
    """Run a whole rollout."""
    with LiveBytes() as live:
        model = job.session.load(job.device, job.dtype, turns)
        loading, live.peak = live.peak, 0
        memory = WorldMemory(
            job.plan,
            positions=job.positions,
            trained_frames=job.session.trained_frames,
            device=job.device,
            dtype=job.dtype,
        )
        shape = (1, model.latent_shape[0], job.plan.layout.chunk_frames, *model.latent_shape[1:])
        noise = seeded_noise(0, shape, torch.device("cpu"))
        passes = decoding = 0
        for result in rollout(
            model.controls, job.plan, memory, levels=model.levels, noise=noise, given=model.given
        ):
            passes, live.peak = max(passes, live.peak), 0
            model.decoder.push(result.latents)
            decoding, live.peak = max(decoding, live.peak), 0
    return Peaks(loading, passes, decoding)


def said_of_passes(parts: Parts) -> int:
    """Host included: on the CPU it is the same memory."""
    transient = max(size for name, size in parts.transient.items() if name != "decode")
    return sum(parts.device.values()) + sum(parts.host.values()) + transient
