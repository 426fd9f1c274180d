"""What the machine can do at best: copies and products, measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

REPEATS = 15
_BYTES = {"cuda": 1 << 30, "cpu": 1 << 27}
_SIDES = {"cuda": (4096, 8192), "cpu": (768, 1536)}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Rates of the hardware.

    Attributes:
        flops_per_s: Operations of a large product in the dtype of the weights.
        copy_bytes_per_s: Bytes read and written by a copy on the device.
        to_device_bytes_per_s: Bytes from pinned host memory; None on the CPU.
        to_host_bytes_per_s: Bytes into pinned host memory; None on the CPU.
    """

    flops_per_s: float
    copy_bytes_per_s: float
    to_device_bytes_per_s: float | None = None
    to_host_bytes_per_s: float | None = None


def measure_limits(device: torch.device, dtype: torch.dtype) -> Limits:
    """Time copies and products; takes about a second."""
    size = _BYTES.get(device.type, _BYTES["cpu"])
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = 2 * size / _fastest_s(device, lambda: target.copy_(source))
    to_device = to_host = None
    if device.type == "cuda":
        pinned = torch.zeros(size, dtype=torch.uint8, pin_memory=True)
        to_device = size / _fastest_s(device, lambda: target.copy_(pinned, non_blocking=True))
        to_host = size / _fastest_s(device, lambda: pinned.copy_(target, non_blocking=True))
    del source, target
    rates = [_product_rate(side, device, dtype) for side in _SIDES.get(device.type, _SIDES["cpu"])]
    return Limits(
        flops_per_s=max(rates),
        copy_bytes_per_s=copy,
        to_device_bytes_per_s=to_device,
        to_host_bytes_per_s=to_host,
    )


def _product_rate(side: int, device: torch.device, dtype: torch.dtype) -> float:
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    return 2.0 * side**3 / _fastest_s(device, lambda: torch.mm(a, b, out=out))


def _fastest_s(device: torch.device, run: Callable[[], object]) -> float:
    """The fastest of some runs: a limit is what is reached when nobody disturbs."""
    taken = []
    for _ in range(REPEATS + 1):
        _wait(device)
        began = time.perf_counter()
        run()
        _wait(device)
        taken.append(time.perf_counter() - began)
    return min(taken[1:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
