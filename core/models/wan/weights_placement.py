"""Where the weights of a Wan network lie and what that takes: integers, no weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from core.elements import Element
from core.errors import InputError
from core.models.wan.block_bytes import (
    QUANTISATIONS,
    Quantisation,
    block_bytes,
    scratch_bytes_per_weight,
)
from core.models.wan.config import WanConfig

WeightRequest = Literal["auto", "resident", "streamed", "int8", "fp8"]
DEFAULT_SLOTS = 2  # one is computed with while the next one is filled


@dataclass(frozen=True, kw_only=True)
class WeightPlacement:
    """How the weights are held.

    Attributes:
        quantisation: Of the blocks' linear layers; None leaves all weights as they are.
        resident_blocks: Blocks that stay on the device, the others are streamed from the host in every pass;
            None for all.
        slots: Places on the device for streamed blocks.
    """

    quantisation: Quantisation | None = None
    resident_blocks: int | None = None
    slots: int = DEFAULT_SLOTS

    def __post_init__(self) -> None:
        if self.slots < 1 or (self.resident_blocks or 0) < 0:
            raise InputError(
                f"weights need at least one slot and no less than 0 resident blocks, got {self}",
                where="weight placement",
            )

    def streamed_layers(self, num_layers: int) -> tuple[int, ...]:
        """The blocks that do not stay on the device.

        They are spread evenly: then copies run all the time, also while resident blocks are computed, and two
        slots suffice for a pass to take no more than the longer of copying and computing.

        Raises:
            InputError: More blocks shall stay than there are.
        """
        resident = num_layers if self.resident_blocks is None else self.resident_blocks
        if resident > num_layers:
            raise InputError(
                f"{resident} blocks cannot stay on the device: the network has {num_layers}",
                where="weight placement",
            )
        streamed = num_layers - resident
        return tuple(
            layer
            for layer in range(num_layers)
            if (layer + 1) * streamed // num_layers > layer * streamed // num_layers
        )

    def slots_of(self, num_layers: int) -> int:
        """Slots that are really used: never more than there are streamed blocks."""
        return min(self.slots, len(self.streamed_layers(num_layers)))

    def words(self, num_layers: int) -> str:
        """The choice for people."""
        streamed = len(self.streamed_layers(num_layers))
        kind = self.quantisation or "unquantised"
        if not streamed:
            return f"{kind}, on the device"
        return f"{kind}, {num_layers - streamed} of {num_layers} blocks on the device, {streamed} streamed"


class WeightBytes(NamedTuple):
    """What weights take.

    Attributes:
        device: On the device, all the time.
        host: In (pinned) host memory, all the time.
        scratch: On the device, now and then: what a quantised layer takes while it is computed.
        streamed: Copied to the device in every pass.
    """

    device: int
    host: int
    scratch: int
    streamed: int


def placement_bytes(config: WanConfig, dtype: Element, placement: WeightPlacement) -> WeightBytes:
    """What a placement takes, exactly; needs neither weights nor torchao."""
    element = dtype.itemsize
    plain = block_bytes(config, element, None).tensors
    outside = config.num_parameters * element - config.num_layers * plain
    block = block_bytes(config, element, placement.quantisation)
    streamed = len(placement.streamed_layers(config.num_layers))
    slots = placement.slots_of(config.num_layers)
    return WeightBytes(
        device=outside + (config.num_layers - streamed) * block.tensors + slots * block.packed,
        host=streamed * block.packed,
        scratch=scratch_bytes_per_weight(placement.quantisation, element) * block.largest_weights,
        streamed=(streamed if streamed > slots else 0) * block.packed,
    )


def weight_placements(
    config: WanConfig, request: WeightRequest = "auto", *, slots: int = DEFAULT_SLOTS
) -> Iterator[WeightPlacement]:
    """What a request allows, from the fastest to the smallest.

    Quantised weights are never given to who did not ask for them; where they do not fit, they are streamed.
    """
    quantisation = request if request in QUANTISATIONS else None
    if request != "streamed":
        yield WeightPlacement(quantisation=quantisation, slots=slots)
    if request != "resident":
        for resident in range(max(config.num_layers - slots - 1, 0), -1, -1):
            yield WeightPlacement(quantisation=quantisation, resident_blocks=resident, slots=slots)
