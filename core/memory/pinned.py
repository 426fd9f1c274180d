"""Host memory that a CUDA device copies from and to at full speed.

It is registered with CUDA instead of taken from torch's pinned allocator, which rounds sizes up to a power of
two: of a bank of 86 GiB it would pin 128.
"""

from __future__ import annotations

import weakref

import torch
from torch import Tensor

from core.errors import WorldKVError

PORTABLE = 1  # cudaHostRegisterPortable: pinned for every device, not only for the current one


def pin_in_place(memory: Tensor, device: torch.device, *, purpose: str, hint: str) -> None:
    """Pin a tensor's memory for as long as the tensor lives; nothing unless the device is a CUDA one.

    Args:
        memory: Contiguous, in host memory, and the owner of its storage.
        device: What copies.
        purpose: What it is for, for the error.
        hint: What takes less.

    Raises:
        WorldKVError: The system refuses to pin that much.
    """
    if device.type != "cuda" or not memory.nbytes:
        return
    error = int(torch.cuda.cudart().cudaHostRegister(memory.data_ptr(), memory.nbytes, PORTABLE))
    if error:
        raise WorldKVError(
            f"the system refuses to pin {memory.nbytes / 2**20:.0f} MiB of host memory (CUDA error {error})",
            where=purpose,
            hint=hint,
        )
    weakref.finalize(memory, _unpin, memory.data_ptr(), device).atexit = False


def _unpin(address: int, device: torch.device) -> None:
    torch.cuda.synchronize(device)  # a copy that ran ahead may still read it
    torch.cuda.cudart().cudaHostUnregister(address)
