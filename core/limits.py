"""What a run may take, as far as settings tell; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from core.config import GenerateConfig
from core.placement import Budgets

CUDA_RESERVE_BYTES: Final = 1 << 30
"""Of a GPU's memory: the driver's context, workspaces of convolutions and products, gaps between tensors."""


@dataclass(frozen=True)
class Held:
    """Bytes that this process keeps from an earlier rollout, and that the next one uses or gets free.

    Attributes:
        device: On the device.
        host: In host memory.
    """

    device: int = 0
    host: int = 0


NOTHING_HELD: Final = Held()


def said_limits(config: GenerateConfig) -> Budgets:
    """What the user says."""
    return Budgets(_size(config.vram_budget), _size(config.ram_budget), _size(config.disk_budget))


def cuda_limits(limits: Budgets) -> Budgets:
    """The same on a GPU, where something is kept free."""
    return replace(limits, reserve=CUDA_RESERVE_BYTES)


def _size(budget: int | None) -> int | None:
    return None if budget is None else int(budget)
