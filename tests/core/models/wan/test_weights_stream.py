"""Slots: which block lies where, and that none is read too early or overwritten too soon."""

from types import SimpleNamespace

import pytest
import torch

from core.errors import WorldKVError
from core.models.wan.network import WanNetwork
from core.models.wan.weights import build_network
from core.models.wan.weights_layout import block_layout
from core.models.wan.weights_placement import WeightPlacement
from core.models.wan.weights_stream import CudaLane, HostBlock, PlainLane, StreamedBlocks, refills
from tests.tiny_networks import CPU, TINY, one_pass, random_tensors

NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class LateLane:
    """The worst that a stream may do: a slot is garbage from the order on, and filled at the wait."""

    def __init__(self) -> None:
        self.ordered: list[int] = []
        self._waiting: list[tuple[int, torch.Tensor, torch.Tensor]] = []

    def copy(self, slot: int, target: torch.Tensor, source: torch.Tensor) -> None:
        target.fill_(255)  # not a number in every floating-point type
        self.ordered.append(slot)
        self._waiting.append((slot, target, source))

    def wait(self, slot: int) -> None:
        while any(slot == waiting for waiting, _, _ in self._waiting):
            _, target, source = self._waiting.pop(0)
            target.copy_(source)


def network_with(
    lane: LateLane | PlainLane, *, streamed: tuple[int, ...] = (0, 1, 2, 3), num_slots: int = 2
) -> WanNetwork:
    """The tiny network with the given blocks streamed."""
    network = build_network(
        TINY, random_tensors(TINY).items(), placement=WeightPlacement(), device=CPU, dtype=torch.float32
    )
    layout = block_layout(TINY, torch.float32, None)
    host = {layer: HostBlock(layout.packed_bytes, device=CPU) for layer in streamed}
    for layer, memory in host.items():
        for name, tensor in network.blocks[layer].state_dict().items():
            layout.pack(memory.flat, name, tensor)
    resident = {i: block for i, block in enumerate(network.blocks) if i not in streamed}
    network.add_module(
        "blocks",
        StreamedBlocks(
            TINY, layout, host=host, resident=resident, num_slots=num_slots, device=CPU, lane=lane
        ),
    )
    return network


@pytest.fixture(scope="module")
def expected() -> torch.Tensor:
    return one_pass(
        build_network(
            TINY, random_tensors(TINY).items(), placement=WeightPlacement(), device=CPU, dtype=torch.float32
        )
    )


@pytest.mark.parametrize("lane", [LateLane, PlainLane])
@pytest.mark.parametrize("streamed", [(0, 1, 2, 3), (1, 3), (3,), (0, 1, 2)])
@pytest.mark.parametrize("num_slots", [1, 2, 3])
def test_blocks_are_right_however_late_they_come(expected, lane, streamed, num_slots):
    network = network_with(lane(), streamed=streamed, num_slots=min(num_slots, len(streamed)))
    for _ in range(3):
        assert torch.equal(one_pass(network), expected)


@pytest.mark.parametrize("lane", [LateLane, PlainLane])
@pytest.mark.parametrize("left_at", [0, 1, 2, 3])
def test_a_pass_that_fails_does_no_harm_to_the_next(expected, lane, left_at):
    network = network_with(lane())

    def fail() -> None:
        for block in network.blocks:
            if block.layer == left_at:
                raise ValueError("out of memory, say")

    with pytest.raises(ValueError, match="say"):
        fail()
    assert torch.equal(one_pass(network), expected)


def test_the_next_pass_is_prepared_by_the_last():
    """Two slots, four blocks: at the end of a pass the first two blocks of the next are under way."""
    lane = LateLane()
    network = network_with(lane)
    assert lane.ordered == [0, 1]
    for _ in network.blocks:
        pass
    assert lane.ordered == [0, 1] * 3  # 2 ahead of the pass, 4 in it, of which 2 for the next
    for _ in network.blocks:
        pass
    assert len(lane.ordered) == 10


def test_nothing_is_copied_twice_where_all_fits():
    lane = LateLane()
    network = network_with(lane, streamed=(1, 3), num_slots=2)
    for _ in range(3):
        one_pass(network)
    assert lane.ordered == [0, 1]


def test_two_passes_at_once_are_refused():
    blocks = network_with(PlainLane()).blocks
    first = iter(blocks)
    next(first)
    next(iter(blocks))
    with pytest.raises(WorldKVError, match="overtaken"):
        next(first)


@pytest.mark.parametrize(
    ("held", "wanted", "filled"),
    [
        ([None, None], [0, 1], [(0, 0), (1, 1)]),
        ([0, 1], [0, 1], []),
        ([0, 1], [1, 2], [(0, 2)]),
        ([2, 1], [2, 3], [(1, 3)]),
        ([2, 3], [3, 0], [(0, 0)]),
        ([3, 2, 1], [0, 1, 2], [(0, 0)]),  # a pass was left while block 1 was next
        ([4, 5], [0, 1], [(0, 0), (1, 1)]),
        ([7], [7], []),
    ],
)
def test_refills(held, wanted, filled):
    assert refills(held, wanted) == filled


def test_a_system_that_refuses_to_pin_is_named(monkeypatch):
    refusing = SimpleNamespace(cudaHostRegister=lambda address, size, flags: 2)
    monkeypatch.setattr(torch.cuda, "cudart", lambda: refusing)
    with pytest.raises(WorldKVError, match=r"refuses to pin 3 MiB .*error 2") as caught:
        HostBlock(3 << 20, device=torch.device("cuda"))
    assert "--vram-budget" in caught.value.hint


@pytest.mark.cuda
@NEEDS_CUDA
def test_host_blocks_are_pinned_as_long_as_they_live():
    block = HostBlock(1 << 20, device=torch.device("cuda"))
    view = block.flat[:]
    assert view.is_pinned()
    del block
    assert not view.is_pinned()


@pytest.mark.cuda
@NEEDS_CUDA
@pytest.mark.parametrize(
    "placement", [WeightPlacement(resident_blocks=0), WeightPlacement(resident_blocks=1)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_same_bits_on_a_gpu(placement, dtype):
    gpu = torch.device("cuda")
    tensors = random_tensors(TINY)
    resident = build_network(TINY, tensors.items(), placement=WeightPlacement(), device=gpu, dtype=dtype)
    streamed = build_network(TINY, tensors.items(), placement=placement, device=gpu, dtype=dtype)
    before = one_pass(resident, device=gpu)
    for _ in range(5):
        assert torch.equal(one_pass(streamed, device=gpu), before)


@pytest.mark.cuda
@NEEDS_CUDA
def test_copies_run_while_the_device_computes():
    """A copy that may start is done although what was launched after its order is still running."""
    gpu = torch.device("cuda")
    size = 64 << 20
    lane, source = CudaLane(gpu, 1), HostBlock(size, device=gpu)
    source.flat.fill_(7)
    target, computed = torch.zeros(size, dtype=torch.uint8, device=gpu), torch.cuda.Event()
    torch.cuda.synchronize()
    lane.copy(0, target, source.flat)
    torch.cuda._sleep(2_000_000_000)  # about a second
    computed.record()
    lane._filled[0].synchronize()
    assert not computed.query()
    lane.wait(0)
    assert (target == 7).all()


@pytest.mark.cuda
@NEEDS_CUDA
def test_a_slot_is_not_overwritten_while_it_is_read():
    gpu = torch.device("cuda")
    size = 1 << 20
    lane, source = CudaLane(gpu, 1), HostBlock(size, device=gpu)
    source.flat.fill_(7)
    target = torch.zeros(size, dtype=torch.uint8, device=gpu)
    torch.cuda._sleep(500_000_000)
    read = target.clone()
    lane.copy(0, target, source.flat)
    lane.wait(0)
    assert (read == 0).all()
    assert (target == 7).all()
