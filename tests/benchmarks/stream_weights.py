"""How much longer does a pass take when weights are streamed?

    python -m tests.benchmarks.stream_weights                  # on a GPU: LingBot's width, fewer layers
    python -m tests.benchmarks.stream_weights --layers 4 --device cpu

Random weights; one chunk of 4,680 tokens attends to itself. Every placement is timed in one run, and its flow
compared bit by bit with that of resident weights of the same precision.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator

import torch

from core.models.wan.config import WanConfig
from core.models.wan.layers import attention
from core.models.wan.network import WanNetwork
from core.models.wan.weights import build_network, held_bytes
from core.models.wan.weights_layout import block_layout
from core.models.wan.weights_placement import WeightPlacement, placement_bytes

SHAPES = {"cuda": (5120, 13824, 40, 60, 104), "cpu": (64, 128, 2, 12, 20)}  # ..., latent rows and columns


class Alone:
    """No past: tokens attend to each other."""

    def attend(self, layer, q, k, v):
        return attention(q, k, v)


def random_weights(config: WanConfig) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors of the network, one at a time, the same in every call."""
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in WanNetwork(config).state_dict().items()}
    for name, shape in shapes.items():
        yield name, torch.randn(shape, generator=generator) / shape[-1] ** 0.5


def placements(num_layers: int, *, quantised: bool) -> Iterator[tuple[str, WeightPlacement]]:
    yield "resident", WeightPlacement()
    yield "half streamed", WeightPlacement(resident_blocks=num_layers // 2)
    yield "streamed", WeightPlacement(resident_blocks=0)
    yield "streamed, 1 slot", WeightPlacement(resident_blocks=0, slots=1)
    yield "streamed, 3 slots", WeightPlacement(resident_blocks=0, slots=3)
    if quantised:
        yield "int8", WeightPlacement(quantisation="int8")
        yield "int8, streamed", WeightPlacement(quantisation="int8", resident_blocks=0)


def time_pass(network: WanNetwork, latents: torch.Tensor, passes: int) -> tuple[torch.Tensor, float]:
    """Flow, and the median milliseconds of a pass after two for warming up."""
    taken_ms = []
    time_embedded = torch.full((1, 1), 500.0, device=latents.device)
    with torch.inference_mode():
        for _ in range(passes + 2):
            wait(latents.device)
            begin = time.perf_counter()
            flow = network(latents, time_embedded, cache=Alone())
            wait(latents.device)
            taken_ms.append((time.perf_counter() - begin) * 1e3)
    return flow, statistics.median(taken_ms[2:])


def copy_ms(num_bytes: int, device: torch.device) -> float:
    """Milliseconds of one copy of pinned memory, the best of ten."""
    source = torch.empty(num_bytes, dtype=torch.uint8, pin_memory=device.type == "cuda")
    target = torch.empty(num_bytes, dtype=torch.uint8, device=device)
    taken_ms = []
    for _ in range(10):
        wait(device)
        begin = time.perf_counter()
        target.copy_(source, non_blocking=True)
        wait(device)
        taken_ms.append((time.perf_counter() - begin) * 1e3)
    return min(taken_ms)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--passes", type=int, default=10)
    parser.add_argument("--int8", action="store_true", help="int8 too (needs torchao)")
    args = parser.parse_args()
    device = torch.device(args.device)
    dim, ffn_dim, heads, rows, cols = SHAPES[device.type]
    config = WanConfig(
        dim=dim, ffn_dim=ffn_dim, num_heads=heads, num_layers=args.layers, in_channels=16, out_channels=16
    )
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(1, 16, 3, rows, cols, generator=generator).to(device, dtype)
    one_copy = copy_ms(block_layout(config, dtype, None).packed_bytes, device)
    print(f"{args.layers} layers of width {dim}, {dtype}, {device}; one block's copy takes {one_copy:.2f} ms")
    flows: dict[object, torch.Tensor] = {}
    for name, placement in placements(args.layers, quantised=args.int8):
        network = build_network(
            config, random_weights(config), placement=placement, device=device, dtype=dtype
        )
        held = held_bytes(network)
        flow, taken_ms = time_pass(network, latents, args.passes)
        same = torch.equal(flow, flows.setdefault(placement.quantisation, flow))
        copied = placement_bytes(config, dtype, placement).streamed
        print(
            f"{name:18} {taken_ms:9.2f} ms a pass, {held.device / 2**20:9.1f} MiB on the device, "
            f"{held.host / 2**20:9.1f} on the host, {copied / 2**20:9.1f} copied a pass, "
            f"bits {'equal' if same else 'DIFFER'}"
        )


if __name__ == "__main__":
    main()
