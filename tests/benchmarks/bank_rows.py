"""How fast rows of the bank are packed and unpacked, and what 8 and 4 bits cost in accuracy.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.bank_rows
    python -m tests.benchmarks.bank_rows --device cuda --tokens 4680

One layer of LingBot. GB/s are of keys and values in the native type, the best of several passes; native rows
are read as views, which takes no time. Errors are root mean squares against those of the numbers: of all keys
(random, a few channels 20 times as large, as real ones have them), of the other channels alone ("quiet"), and
of the values.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import get_args

import torch
from torch import Tensor

from core.memory.row_bytes import Precision
from core.memory.rows import RowFormat

HEADS, HEAD_DIM = 40, 128
LOUD_CHANNELS = 4
LOUDER = 20.0


def best_s(work: Callable[[], object], device: torch.device, passes: int) -> float:
    """Seconds of the fastest pass, after one that warms up."""
    fastest = float("inf")
    for i in range(passes + 1):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if i:
            fastest = min(fastest, time.perf_counter() - began)
    return fastest


def relative_error(got: Tensor, exact: Tensor) -> float:
    exact = exact.float()
    return ((got.float() - exact).norm() / exact.norm()).item()


def measure(layout: RowFormat, tokens: int, device: torch.device, passes: int) -> str:
    """A line of the table."""
    generator = torch.Generator().manual_seed(0)
    keys, values = (torch.randn(1, tokens, HEADS, HEAD_DIM, generator=generator) for _ in range(2))
    keys[..., :LOUD_CHANNELS] *= LOUDER
    keys, values = (part.to(device, layout.dtype) for part in (keys, values))
    rows, scales = layout.pack(keys, values)
    shared = None if scales is None else scales[:, None]
    chunk = None if scales is None else torch.zeros(tokens, dtype=torch.int64, device=device)
    back_keys, back_values = layout.unpack(rows, shared, chunk)
    errors = (
        relative_error(back_keys, keys),
        relative_error(back_keys[..., LOUD_CHANNELS:], keys[..., LOUD_CHANNELS:]),
        relative_error(back_values, values),
    )
    gigabytes = (keys.nbytes + values.nbytes) / 1e9
    packing = gigabytes / best_s(lambda: layout.pack(keys, values), device, passes)
    unpacking = gigabytes / best_s(lambda: layout.unpack(rows, shared, chunk), device, passes)
    read = f"{unpacking:7.2f}" if scales is not None else "  views"
    accuracy = " ".join(f"{error:9.4%}" for error in errors)
    name = str(layout.dtype).removeprefix("torch.")
    return (
        f"{name:9} {layout.precision:6} {tokens:6} {8 * layout.row_words:9} {packing:7.2f} {read} {accuracy}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, nargs="+", default=[1170, 4680])
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float16", "float32"])
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    device = torch.device(args.device)
    chip = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"CPU, {torch.get_num_threads()} threads"
    )
    print(chip)
    print(
        f"{'type':9} {'kept':6} {'tokens':>6} {'row bytes':>9} {'pack':>7} {'unpack':>7} "
        f"{'keys':>9} {'quiet':>9} {'values':>9}   (GB/s, relative error)"
    )
    for dtype in args.dtypes:
        for tokens in args.tokens:
            for precision in get_args(Precision):
                layout = RowFormat(precision, HEADS, HEAD_DIM, getattr(torch, dtype))
                print(measure(layout, tokens, device, args.passes), flush=True)


if __name__ == "__main__":
    main()
