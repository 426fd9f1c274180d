"""The few-step flow-matching sampler: every step predicts the clean latents, then adds fresh noise again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

TABLE_STEPS = 1000


@dataclass(frozen=True)
class NoiseLevels:
    """Noise levels of one sampler.

    Attributes:
        timesteps: What the network is told, one a step, falling.
        x0_sigmas: Noise level used to turn the predicted flow into clean latents, one a step.
        renoise_sigmas: Noise level to which clean latents are noised for the next step: one fewer.
    """

    timesteps: tuple[float, ...]
    x0_sigmas: tuple[float, ...]
    renoise_sigmas: tuple[float, ...]

    @property
    def num_steps(self) -> int:
        """Network passes that denoise."""
        return len(self.timesteps)

    @classmethod
    def shifted(cls, levels: Sequence[float], shift: float) -> NoiseLevels:
        """Plain levels s in (0, 1], each shifted to shift * s / (1 + (shift - 1) * s), highest first.

        Source: Esser et al. 2024, arXiv:2403.03206, timestep shifting.
        """
        sigmas = tuple(shift * s / (1 + (shift - 1) * s) for s in levels)
        return cls(tuple(s * TABLE_STEPS for s in sigmas), sigmas, sigmas[1:])

    @classmethod
    def from_table(cls, shift: float, indices: Sequence[int] = (0, 179, 358, 679)) -> NoiseLevels:
        """LingBot-World-Fast's levels, from a table of integer timesteps with duplicates.

        The distilled model was run so, hence the exact table values: timesteps are cut to integers, the clean
        latents use the first entry with the timestep, the noising uses the second where there are two.
        Source: golden/lingbot README, section 5.
        """
        s = np.linspace(float(np.float32(0.999)), 0.0, TABLE_STEPS + 1)[:TABLE_STEPS]
        shifted = shift * s / (1 + (shift - 1) * s)
        table = [float(v) for v in shifted.astype(np.float32)]
        steps = (shifted * TABLE_STEPS).astype(np.int64)
        timesteps = [int(steps[i]) for i in indices]
        equal = [np.flatnonzero(steps == t) for t in timesteps]
        return cls(
            tuple(float(t) for t in timesteps),
            tuple(table[e[0]] for e in equal),
            tuple(table[e[1] if len(e) > 1 else e[0]] for e in equal[1:]),
        )

    @classmethod
    def from_steps(cls, steps: Sequence[int], shift: float) -> NoiseLevels:
        """Matrix-Game-2.0's levels: steps of a table of 1,000 from its end, with fractional timesteps.

        Source: golden/matrix_game README, section 5.
        """
        s = 1 - np.arange(TABLE_STEPS, dtype=np.float32) / np.float32(TABLE_STEPS)
        sigmas = (np.float32(shift) * s / (1 + np.float32(shift - 1) * s)).astype(np.float32)
        picked = [sigmas[TABLE_STEPS - step] for step in steps]
        timesteps = tuple(float(np.float32(TABLE_STEPS) * sigma) for sigma in picked)
        levels = tuple(float(sigma) for sigma in picked)
        return cls(timesteps, levels, levels[1:])


def clean_latents(
    x: Float[Tensor, "*shape"], flow: Float[Tensor, "*shape"], sigma: float
) -> Float[Tensor, "*shape"]:
    """Where the flow ends, x - sigma * flow: in float64 where the device has it, returned in float32."""
    wide = torch.float32 if x.device.type == "mps" else torch.float64
    return (x.to(wide) - sigma * flow.to(wide)).float()


def denoise(
    predict_flow: Callable[[Tensor, int], Tensor],
    noise: Float[Tensor, "batch channels frames h w"],
    levels: NoiseLevels,
    renoise: Callable[[int], Tensor],
) -> Float[Tensor, "batch channels frames h w"]:
    """Denoise one chunk.

    Args:
        predict_flow: The network at a step, from 0 on.
        noise: Where the chunk starts.
        levels: Noise levels.
        renoise: Fresh noise after step i, of the shape of `noise`.
    """
    x = x0 = noise
    for i, sigma in enumerate(levels.x0_sigmas):
        x0 = clean_latents(x, predict_flow(x, i), sigma)
        if i + 1 < levels.num_steps:
            s = levels.renoise_sigmas[i]
            x = (1 - s) * x0 + s * renoise(i)
    return x0
