"""Which placement of the weights fits what there is, and why: integers, no weights."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import NamedTuple

import torch

from core.errors import BudgetError, ModelFilesError
from core.models.wan.config import WanConfig
from core.models.wan.weights_placement import (
    WeightBytes,
    WeightPlacement,
    WeightRequest,
    placement_bytes,
    weight_placements,
)

_LOG = logging.getLogger(__name__)
_SMALLER: dict[WeightRequest, tuple[WeightRequest, ...]] = {
    "resident": ("streamed", "int8"),
    "auto": ("int8",),
    "streamed": ("int8",),
}


class ChosenPlacement(NamedTuple):
    """A placement that fits, what it takes, and why it is the one."""

    placement: WeightPlacement
    takes: WeightBytes
    reason: str


@dataclass(frozen=True, kw_only=True)
class Room:
    """What there is, in bytes.

    Attributes:
        device: Budget of the device; None for no limit.
        host: Budget of the host; None for no limit.
        other_device: What else the run holds on the device at its peak.
        other_host: What else the run holds in host memory.
    """

    device: int | None = None
    host: int | None = None
    other_device: int = 0
    other_host: int = 0

    def lacks(self, takes: WeightBytes) -> tuple[int, int]:
        """Bytes that are missing on the device and in host memory."""
        return (
            _over(takes.device + takes.scratch + self.other_device, self.device),
            _over(takes.host + self.other_host, self.host),
        )


def choose_weights(
    config: WanConfig, dtype: torch.dtype, room: Room, *, request: WeightRequest = "auto"
) -> ChosenPlacement:
    """The fastest placement that was asked for and fits.

    Raises:
        BudgetError: None fits.
        ModelFilesError: Quantisation is asked for and torchao is missing or made for another torch.
    """
    for tried, placement in enumerate(weight_placements(config, request)):
        takes = placement_bytes(config, dtype, placement)
        if not any(room.lacks(takes)):
            reason = _reason(config, dtype, room, placement, takes, asked=request != "auto" and not tried)
            _LOG.info("weights: %s", reason)
            return ChosenPlacement(placement, takes, reason)
    raise _too_large(config, dtype, room, request)


def _reason(
    config: WanConfig,
    dtype: torch.dtype,
    room: Room,
    placement: WeightPlacement,
    takes: WeightBytes,
    *,
    asked: bool,
) -> str:
    words = placement.words(config.num_layers)
    if not takes.host:
        why = "as asked for" if asked else "they fit"
        return f"{words} ({_size(takes.device)}): {why}"
    whole = WeightPlacement(quantisation=placement.quantisation)
    needed = _size(placement_bytes(config, dtype, whole).device)
    why = "as asked for" if asked else f"all {needed} do not fit beside {_size(room.other_device)}"
    if room.device is not None and not asked:
        why += f" in {_size(room.device)}"
    return f"{words} ({_size(takes.device)}, and {_size(takes.streamed)} are copied in every pass): {why}"


def _too_large(config: WanConfig, dtype: torch.dtype, room: Room, request: WeightRequest) -> BudgetError:
    """What is short, by how much, and what would help."""
    every = [placement_bytes(config, dtype, each) for each in weight_placements(config, request)]
    within_device = [takes for takes in every if not room.lacks(takes)[0]]
    least = within_device[0] if within_device else every[-1]  # the first that fits takes least of the host
    on_device = not within_device
    lack = room.lacks(least)[0 if on_device else 1]
    own = least.device + least.scratch if on_device else least.host
    other = room.other_device if on_device else room.other_host
    budget = (room.device if on_device else room.host) or 0
    kind, flag = ("device", "--vram-budget") if on_device else ("host", "--ram-budget")
    problem = (
        f"the weights take at least {_size(own)} of {kind} memory beside {_size(other)} of other things, "
        f"{_size(lack)} more than the budget of {_size(budget)}"
    )
    ways = [f"--weights {each}" for each in _SMALLER.get(request, ()) if _fits(config, dtype, room, each)]
    return BudgetError(problem, where=flag, hint="; ".join([*ways, f"{flag} {_gib_up(budget + lack)}GiB"]))


def _fits(config: WanConfig, dtype: torch.dtype, room: Room, request: WeightRequest) -> bool:
    try:
        return any(
            not any(room.lacks(placement_bytes(config, dtype, each)))
            for each in weight_placements(config, request)
        )
    except ModelFilesError:  # no torchao: no advice to use it
        return False


def _over(needed: int, budget: int | None) -> int:
    return 0 if budget is None else max(0, needed - budget)


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB" if size_bytes >= 2**27 else f"{size_bytes / 2**20:.1f} MiB"


def _gib_up(size_bytes: int) -> str:
    return f"{-(-size_bytes * 10 // 2**30) / 10:.1f}"
