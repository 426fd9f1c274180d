"""Blocks whose weights wait in host memory and are copied to the device just before they are needed.

While one block is computed, the next one's copy runs ahead on a stream of its own; from the last block of a
pass it runs on to the first of the next. Which block lies in which slot is integer bookkeeping; that a slot
is never overwritten while it is read, nor read before it is filled, is the business of the lane.
"""

from __future__ import annotations

import copy
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Never, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from core.errors import WorldKVError
from core.memory.pinned import pin_in_place
from core.models.wan.block import WanBlock
from core.models.wan.config import WanConfig
from core.models.wan.weights_layout import BlockLayout, set_parameter


class HostBlock:
    """Host memory of one packed block, pinned if it is for a CUDA device.

    Raises:
        WorldKVError: The system refuses to pin that much.
    """

    def __init__(self, num_bytes: int, *, device: torch.device) -> None:
        self.flat = torch.empty(num_bytes, dtype=torch.uint8)
        hint = "keep more of the weights on the device (larger --vram-budget), or use --weights int8"
        pin_in_place(self.flat, device, purpose="--weights streamed", hint=hint)


@runtime_checkable
class Lane(Protocol):
    """Copies packed blocks into slots, in order with what computes on the device."""

    def copy(self, slot: int, target: Tensor, source: Tensor) -> None:
        """Fill a slot as soon as all that was computed so far is done with it; does not wait for that."""
        ...

    def wait(self, slot: int) -> None:
        """Let what is computed from now on wait until the slot is filled."""
        ...


class PlainLane:
    """Copies at once; for devices without streams."""

    def copy(self, slot: int, target: Tensor, source: Tensor) -> None:
        """See `Lane`."""
        del slot
        target.copy_(source)

    def wait(self, slot: int) -> None:
        """See `Lane`."""


class CudaLane:
    """Copies on a stream of its own."""

    def __init__(self, device: torch.device, num_slots: int) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._filled = [torch.cuda.Event() for _ in range(num_slots)]

    def copy(self, slot: int, target: Tensor, source: Tensor) -> None:
        """See `Lane`."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            target.copy_(source, non_blocking=True)
            self._filled[slot].record(self._stream)
        target.record_stream(self._stream)  # its memory is not given to others while the copy runs

    def wait(self, slot: int) -> None:
        """See `Lane`."""
        torch.cuda.current_stream(self._device).wait_event(self._filled[slot])


class _Slot:
    """Device memory of one packed block, and every streamed block as it looks when it lies there."""

    def __init__(
        self, config: WanConfig, layout: BlockLayout, layers: Sequence[int], device: torch.device
    ) -> None:
        self.flat = torch.empty(layout.packed_bytes, dtype=torch.uint8, device=device)
        with torch.device("meta"):
            block = WanBlock(config, layer=0).eval()
        for name, tensor in layout.unpack(self.flat):
            set_parameter(block, name, tensor)
        self.blocks = {layer: _of_layer(block, layer) for layer in layers}


def _of_layer(block: WanBlock, layer: int) -> WanBlock:
    """The same parameters under another number."""
    other = copy.copy(block)
    other.layer = layer
    return other


class StreamedBlocks(nn.Module):
    """The blocks of a network in turn, some of them resident, the others from slots that are filled ahead.

    A block is good only until the next one is asked for. Only one pass can be under way; one that was left
    early does no harm to the next.

    Args:
        config: The network's.
        layout: How a block is packed.
        host: Streamed blocks by layer; at least one.
        resident: All other blocks by layer.
        num_slots: Slots on the device; no more than there are streamed blocks.
        device: Where blocks are used.
        lane: Who copies; by default what suits the device.
    """

    @torch.inference_mode(mode=False)  # slots are written outside of inference mode too
    def __init__(
        self,
        config: WanConfig,
        layout: BlockLayout,
        *,
        host: Mapping[int, HostBlock],
        resident: Mapping[int, WanBlock],
        num_slots: int,
        device: torch.device,
        lane: Lane | None = None,
    ) -> None:
        super().__init__()
        self._num_layers = config.num_layers
        self._host, self._resident = dict(host), dict(resident)
        self._streamed = sorted(host)
        self._slots = [_Slot(config, layout, self._streamed, device) for _ in range(num_slots)]
        self._held: list[int | None] = [None] * num_slots
        default = CudaLane(device, num_slots) if device.type == "cuda" else PlainLane()
        self._lane = default if lane is None else lane
        self._passes = 0
        self._fill_ahead(0)

    def __len__(self) -> int:
        return self._num_layers

    def __iter__(self) -> Iterator[WanBlock]:
        """One pass.

        Raises:
            WorldKVError: Another pass began before this one was done.
        """
        self._passes += 1
        this_pass = self._passes
        for layer in range(self._num_layers):
            self._fill_ahead(layer)
            yield self._resident[layer] if layer in self._resident else self._filled(layer)
            if self._passes != this_pass:
                raise WorldKVError(
                    "a pass over streamed weights was overtaken by another one",
                    hint="one pass at a time, or keep the weights on the device: --weights resident",
                )
        self._fill_ahead(0)

    @property
    def device_bytes(self) -> int:
        """Bytes of the slots."""
        return sum(slot.flat.nbytes for slot in self._slots)

    @property
    def host_bytes(self) -> int:
        """Bytes of the blocks in host memory."""
        return sum(block.flat.nbytes for block in self._host.values())

    @property
    def resident(self) -> tuple[WanBlock, ...]:
        """The blocks that stay on the device."""
        return tuple(self._resident.values())

    def _filled(self, layer: int) -> WanBlock:
        slot = self._held.index(layer)
        self._lane.wait(slot)
        return self._slots[slot].blocks[layer]

    def _fill_ahead(self, layer: int) -> None:
        """Start the copies that are missing when `layer` is next."""
        first, count = bisect_left(self._streamed, layer), len(self._streamed)
        wanted = [self._streamed[(first + ahead) % count] for ahead in range(len(self._slots))]
        for slot, missing in refills(self._held, wanted):
            self._held[slot] = missing
            self._lane.copy(slot, self._slots[slot].flat, self._host[missing].flat)

    def _apply(self, *_args: Any, **_kwargs: Any) -> Never:  # noqa: ANN401 - whatever torch hands in
        raise _fixed("moved or cast")

    def _save_to_state_dict(self, *_args: Any, **_kwargs: Any) -> Never:  # noqa: ANN401
        raise _fixed("saved")

    def _load_from_state_dict(self, *_args: Any, **_kwargs: Any) -> Never:  # noqa: ANN401
        raise _fixed("loaded anew")


def refills(held: Sequence[int | None], wanted: Sequence[int]) -> list[tuple[int, int]]:
    """Which slots to fill with which blocks.

    Args:
        held: What each slot holds.
        wanted: As many blocks as there are slots, in the order in which they are needed.
    """
    free = [slot for slot, layer in enumerate(held) if layer not in wanted]
    missing = [layer for layer in wanted if layer not in held]
    return list(zip(free, missing, strict=True))


def _fixed(done: str) -> WorldKVError:
    return WorldKVError(
        f"streamed weights cannot be {done}: they lie in host memory, packed block by block",
        hint="build the network again as it shall be, or keep the weights on the device: --weights resident",
    )
