"""For which machine is planned: this one, or a GPU that is not here."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.config import GenerateConfig
from core.elements import NUMBER_FORMATS, NumberFormat
from core.errors import InputError
from core.host_cpu import cpu_model
from core.limits import cuda_limits, said_limits
from core.models.registry import ModelEntry
from core.placement import Budgets

_SIGNS: Final = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd")
"""On Linux there is no GPU for torch without one of these."""


@dataclass(frozen=True)
class Machine:
    """Where a rollout would run.

    Attributes:
        device: As torch calls it.
        dtype: Of weights, keys and values.
        limits: What the rollout may take.
        hardware: The device's own name; None if it is not here.
        notes: What was taken for granted.
    """

    device: str
    dtype: NumberFormat
    limits: Budgets
    hardware: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def there(self) -> bool:
        """Whether the device is in this machine."""
        return self.hardware is not None


def target_machine(config: GenerateConfig, entry: ModelEntry) -> Machine:
    """The machine that the settings mean.

    A GPU may be planned for that is not here: one that is asked for by name, or by saying how much of it a
    model that wants one may take. Nothing is known of that machine but what the budgets say.

    Raises:
        InputError: The device is not there, and no GPU.
    """
    wants_gpu = config.device.startswith("cuda") or (
        config.device == "auto" and entry.wants_gpu and config.vram_budget is not None
    )
    if config.device == "mps" or (config.device != "cpu" and _gpu_may_be_here()):
        here = _this_machine(config, or_none=wants_gpu)
        if here is not None and not (wants_gpu and here.device == "cpu"):
            return here
    if wants_gpu:
        return _absent_gpu(config)
    return Machine("cpu", _dtype(config, "float32"), said_limits(config), cpu_model())


def _this_machine(config: GenerateConfig, *, or_none: bool) -> Machine | None:
    """The device that `worldkv generate` would take here.

    Raises:
        InputError: It is not here, and that shall be an error.
    """
    from core.hardware import budgets, device_info, pick_device, pick_dtype  # needs torch

    try:
        device = pick_device(config.device)
    except InputError:
        if or_none:
            return None
        raise
    dtype = str(pick_dtype(config.dtype, device)).removeprefix("torch.")
    hardware = device_info(device).model or str(device)
    return Machine(str(device), NUMBER_FORMATS[dtype], budgets(config, device), hardware)


def _absent_gpu(config: GenerateConfig) -> Machine:
    name = "cuda" if config.device == "auto" else config.device
    note = f"planned for a GPU: there is no {name} here, so that nothing but the budgets is known of it"
    return Machine(name, _dtype(config, "bfloat16"), cuda_limits(said_limits(config)), notes=(note,))


def _dtype(config: GenerateConfig, default: str) -> NumberFormat:
    return NUMBER_FORMATS[default if config.dtype == "auto" else config.dtype]


def _gpu_may_be_here() -> bool:
    """Whether it is worth a second to ask torch."""
    return not sys.platform.startswith("linux") or any(Path(sign).exists() for sign in _SIGNS)
