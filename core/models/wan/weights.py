"""From a stream of named tensors to a Wan network whose weights lie where the plan wants them.

With a checkpoint: `load_into(builder.network, weights, ..., place=builder.place)`, then `builder.finish()`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable

import torch
from torch import Tensor

from core.errors import ModelFilesError
from core.hardware import Held
from core.models.tensors import check_shapes
from core.models.wan.block import WanBlock
from core.models.wan.block_bytes import is_quantisable
from core.models.wan.config import WanConfig
from core.models.wan.network import WanNetwork
from core.models.wan.weights_layout import block_layout, set_parameter
from core.models.wan.weights_placement import WeightBytes, WeightPlacement
from core.models.wan.weights_quantised import plain_parts, quantise
from core.models.wan.weights_stream import HostBlock, StreamedBlocks
from core.models.weight_cache import WeightCache

_BLOCKS = "blocks"
_LOG = logging.getLogger(__name__)


class NetworkBuilder:
    """Takes tensors one by one, in any order, and keeps none twice.

    Args:
        config: Sizes of the network.
        placement: Where its weights lie.
        device: Where it computes.
        dtype: Of all weights that are not quantised.

    Attributes:
        network: The network on the meta device; `finish` returns it.

    Raises:
        ModelFilesError: Quantisation is asked for and torchao is missing or made for another torch.
    """

    def __init__(
        self, config: WanConfig, *, placement: WeightPlacement, device: torch.device, dtype: torch.dtype
    ) -> None:
        if config.actions is not None and placement != WeightPlacement(slots=placement.slots):
            raise ModelFilesError(
                "blocks with action modules are not all alike: their weights stay on the device as they are",
                where="--weights",
                hint="leave it out",
            )
        self._config, self._placement, self._device, self._dtype = config, placement, device, dtype
        self._layout = block_layout(config, dtype, placement.quantisation)
        self._streamed = frozenset(placement.streamed_layers(config.num_layers))
        self._host: dict[int, HostBlock] = {}
        with torch.device("meta"):
            self.network = WanNetwork(config).to(dtype).eval()
        self._expected = {name: tuple(own.shape) for name, own in self.network.state_dict().items()}
        self._placed: dict[str, tuple[int, ...]] = {}

    @torch.inference_mode(mode=False)
    def place(self, name: str, tensor: Tensor) -> Tensor:
        """Put a tensor where it belongs.

        Args:
            name: As the network calls it.
            tensor: In host memory that is nobody else's: on the CPU the network may keep it.

        Returns:
            What the network shall hold in its place: on the device, or on the meta device if it is streamed.

        Raises:
            ModelFilesError: The network has no such tensor, or one of another shape.
        """
        self._check(name, tensor)
        layer, inner = _layer_of(name)
        if layer is None:
            return tensor.to(self._device, self._dtype)
        quantisation = self._placement.quantisation
        if quantisation is not None and is_quantisable(tuple(tensor.shape)):
            tensor = quantise(tensor.to(self._device, self._dtype), quantisation)  # much faster there
        elif layer not in self._streamed:
            tensor = tensor.to(self._device, self._dtype)
        if layer not in self._streamed:
            return tensor
        if layer not in self._host:
            self._host[layer] = HostBlock(self._layout.packed_bytes, device=self._device)
        self._layout.pack(self._host[layer].flat, inner, tensor)
        return self._layout.like[inner]

    def finish(self) -> WanNetwork:
        """The network, ready to run; takes over everything placed so far.

        Raises:
            ModelFilesError: Tensors are missing.
        """
        hint = "is this the checkpoint of another model?"
        check_shapes(self._expected, self._placed, where="weights of the network", hint=hint)
        if self._streamed:
            blocks = enumerate(self.network.get_submodule(_BLOCKS).children())
            resident = {i: b for i, b in blocks if i not in self._streamed and isinstance(b, WanBlock)}
            streamed = StreamedBlocks(
                self._config,
                self._layout,
                host=self._host,
                resident=resident,
                num_slots=self._placement.slots_of(self._config.num_layers),
                device=self._device,
            )
            self.network.add_module(_BLOCKS, streamed)
        _LOG.info("weights are loaded: %s", self._placement.words(self._config.num_layers))
        return self.network.requires_grad_(requires_grad=False)

    def _check(self, name: str, tensor: Tensor) -> None:
        expected, shape = self._expected.get(name), tuple(tensor.shape)
        if expected != shape:
            is_there = (
                "not known to the network" if expected is None else f"{list(shape)}, not {list(expected)}"
            )
            raise ModelFilesError(f"a tensor does not fit the model: {name} is {is_there}", where="weights")
        self._placed[name] = shape


def build_network(
    config: WanConfig,
    tensors: Iterable[tuple[str, Tensor]],
    *,
    placement: WeightPlacement,
    device: torch.device,
    dtype: torch.dtype,
) -> WanNetwork:
    """A network from a stream of tensors; the host never holds more than the stream's next one beside it.

    Args:
        config: Sizes of the network.
        tensors: Names and tensors, each once, in any order; see `NetworkBuilder.place`.
        placement: Where the weights lie.
        device: Where the network computes.
        dtype: Of all weights that are not quantised.

    Raises:
        ModelFilesError: Tensors are missing, mis-shaped or unknown, or torchao is missing.
        WorldKVError: The system refuses to pin that much host memory.
    """
    builder = NetworkBuilder(config, placement=placement, device=device, dtype=dtype)
    for name, tensor in tensors:
        placed = builder.place(name, tensor)
        with torch.inference_mode(mode=False):
            set_parameter(builder.network, name, placed)
    return builder.finish()


def held_bytes(network: WanNetwork) -> WeightBytes:
    """What a network's weights really take; its scratch memory shows only while it runs."""
    blocks = network.get_submodule(_BLOCKS)
    device = sum(_bytes_of(parameter) for parameter in network.parameters())
    if not isinstance(blocks, StreamedBlocks):
        return WeightBytes(device=device, host=0, scratch=0, streamed=0)
    resident = sum(_bytes_of(parameter) for block in blocks.resident for parameter in block.parameters())
    return WeightBytes(
        device=device + resident + blocks.device_bytes, host=blocks.host_bytes, scratch=0, streamed=0
    )


def kept_network(
    weights: WeightCache | None, key: Hashable, device: torch.device, load: Callable[[], WanNetwork]
) -> WanNetwork:
    """A network that this process has kept, or loaded now.

    Args:
        weights: Keeps it for the next rollout; None for nobody.
        key: Files, placement and precision.
        device: Where it lies.
        load: Loads it.
    """

    def held(network: WanNetwork) -> Held:
        taken = held_bytes(network)
        return Held(taken.device, taken.host)

    return load() if weights is None else weights.get(key, device, load, held)


def _bytes_of(tensor: Tensor) -> int:
    return sum(part.nbytes for part in plain_parts(tensor))


def _layer_of(name: str) -> tuple[int | None, str]:
    """The block that a tensor belongs to, and its name there."""
    parts = name.split(".", 2)
    return (int(parts[1]), parts[2]) if parts[0] == _BLOCKS else (None, name)
