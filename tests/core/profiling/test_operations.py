"""Where a chunk's time goes, by events as torch's profiler builds them."""

from types import SimpleNamespace

import pytest
from torch._C._autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent

from core.profiling.kinds import Place
from core.profiling.operations import Taken, _by_kind, _overhead

ADD_KERNEL = "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float> >(int)"
MM_KERNEL = "void cutlass::Kernel2<cutlass_80_tensorop_s1688gemm_128x64>(Params)"
BLOCK = Place("models/wan/block", "forward")


def event(name: str, start_ms: float, end_ms: float, *, use_device: str | None = "cuda") -> FunctionEvent:
    """An operation, or what the CPU does for one."""
    return FunctionEvent(0, name, 1, 1e3 * start_ms, 1e3 * end_ms, use_device=use_device)


def kernel(name: str, start_ms: float, end_ms: float, of: FunctionEvent) -> FunctionEvent:
    """What the GPU does for an operation: an event of its own, and in the operation's list."""
    of.append_kernel(name, 0, 1e3 * (end_ms - start_ms))
    return FunctionEvent(
        0, name, 7, 1e3 * start_ms, 1e3 * end_ms, use_device="cuda", device_type=DeviceType.CUDA
    )


def inside(child: FunctionEvent, parent: FunctionEvent) -> FunctionEvent:
    parent.append_cpu_child(child)
    child.set_cpu_parent(parent)
    return child


def rounded(taken: dict[str, Taken]) -> dict[str, tuple[float, int]]:
    return {kind: (round(each.ms, 9), each.calls) for kind, each in taken.items()}


def test_a_kernel_counts_once_on_a_gpu() -> None:
    """An addition of 1 ms and a product of 2 ms in a chunk of 4 ms."""
    add, matmul = event("aten::add", 0, 0.02), event("aten::matmul", 0.1, 0.3)
    mm = inside(event("aten::mm", 0.15, 0.25), matmul)
    launch = inside(event("cudaLaunchKernel", 0.16, 0.2), mm)
    kernels = [kernel(ADD_KERNEL, 0.1, 1.1, add), kernel(MM_KERNEL, 1.5, 3.5, mm)]
    profiler = SimpleNamespace(events=lambda: [add, matmul, mm, launch, *kernels])
    taken = _by_kind(profiler, [("aten::add", BLOCK), ("aten::matmul", BLOCK)], on_device=True)
    assert rounded(taken) == {"residuals and modulation": (1.0, 1), "products": (2.0, 1)}
    told = _overhead(8, 4.0, taken)
    assert (told.product_ms, told.attention_ms) == (pytest.approx(2.0), 0.0)
    assert told.between_ms == pytest.approx(1.0)
    assert told.outside_share == pytest.approx(0.5)


def test_self_times_on_a_cpu() -> None:
    matmul = event("aten::matmul", 0, 2.5, use_device=None)
    mm = inside(event("aten::mm", 0.5, 2.5, use_device=None), matmul)
    add = event("aten::add", 3, 4, use_device=None)
    profiler = SimpleNamespace(events=lambda: [matmul, mm, add])
    taken = _by_kind(profiler, [("aten::matmul", BLOCK), ("aten::add", None)], on_device=False)
    assert rounded(taken) == {"products": (2.5, 2), "elsewhere": (1.0, 1)}
