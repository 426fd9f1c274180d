"""The rollout's randomness: explicit, by seed, chunk and draw.

Every draw has a generator of its own, so the noise depends neither on the memory mode nor on where a rollout
was resumed. Drawn on the CPU: the same on every device.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

NoiseSource = Callable[[int, int], Tensor]
"""Noise of a chunk (first argument): draw 0 starts it, draw i re-noises after pass i - 1."""


def seeded_noise(seed: int, shape: tuple[int, ...], device: torch.device) -> NoiseSource:
    """Standard normal noise of one chunk's latents.

    Args:
        seed: Of the rollout.
        shape: Batch, channels, frames, rows, columns.
        device: Where the noise is wanted.
    """

    def draw(chunk: int, index: int) -> Float[Tensor, "batch channels frames h w"]:
        state = np.random.SeedSequence((seed, chunk, index)).generate_state(2)
        generator = torch.Generator().manual_seed(int(state[0]) << 31 | int(state[1]) >> 1)
        return torch.randn(shape, generator=generator).to(device)

    return draw
