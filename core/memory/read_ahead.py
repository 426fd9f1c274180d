"""Reads from disk what the next chunk retrieves while this one is denoised, and writes behind.

One thread does all of it, in the order in which it is asked, so that a read sees every write before it.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from core.memory.disk_pool import DiskPool
from core.memory.pinned import pin_in_place


class ReadAhead:
    """A pool on disk that a device reads from and writes to without waiting, as long as the disk keeps up.

    Args:
        pool: The pool.
        tokens: Most tokens that a chunk reads.
        device: Where they go.
    """

    def __init__(self, pool: DiskPool, tokens: int, *, device: torch.device) -> None:
        self.pool, self._device = pool, device
        shape = (pool.num_layers, pool.batch, tokens, pool.row_words)
        self._buffer = torch.zeros(shape, dtype=torch.int64)
        pin_in_place(self._buffer, device, purpose="what is read from disk", hint="leave out --disk-budget")
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bank-disk")
        self._reads: list[Future[None]] = []
        self._writes: list[Future[None]] = []
        self._older: list[Future[None]] = []  # of the chunk before
        self._count = 0
        self.waited_s = 0.0

    @property
    def nbytes(self) -> int:
        """Host memory of the buffer and of what could not be written."""
        return self._buffer.nbytes + self.pool.held_bytes

    def start(self, slots: Int64[np.ndarray, " tokens"], after: torch.cuda.Event | None = None) -> None:
        """Begin to read tokens of all layers, in the layers' order.

        Args:
            slots: Of the pool.
            after: When the device has copied what is in the buffer now.
        """
        self._write_out()
        self._count = len(slots)
        self._reads = [
            self._thread.submit(partial(self._read, layer, slots, after if layer == 0 else None))
            for layer in range(self.pool.num_layers if len(slots) else 0)
        ]

    def rows(self, layer: int) -> Int64[Tensor, "batch tokens words"]:
        """What was read for a layer; waits until it is there."""
        self._wait(self._reads[layer])
        return self._buffer[layer][:, : self._count]

    def read_now(
        self, layer: int, slots: Int64[np.ndarray, " tokens"]
    ) -> Int64[Tensor, "batch tokens words"]:
        """Read tokens of a layer that could not be read ahead; waits for them."""
        out = torch.empty((self.pool.batch, len(slots), self.pool.row_words), dtype=torch.int64)
        self._wait(self._thread.submit(self.pool.read, layer, slots, out))
        return out

    def _write_out(self) -> None:
        """Let no more than two chunks' tokens be on their way: a slow disk must not fill the memory."""
        for done in self._older:
            self._wait(done)
        self._older, self._writes = self._writes, []

    def write(
        self, layer: int, slots: Int64[np.ndarray, " tokens"], rows: Int64[Tensor, "batch tokens words"]
    ) -> None:
        """Write tokens of a layer behind; the rows are the caller's no more."""
        if self._device.type != "cuda":
            self._writes.append(self._thread.submit(self.pool.write, layer, slots, rows))
            return
        held = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True)
        held.copy_(rows, non_blocking=True)
        copied = torch.cuda.Event()
        copied.record()
        self._writes.append(self._thread.submit(self._write, layer, slots, held, copied))

    def drain(self) -> None:
        """Wait until everything is written."""
        for done in (*self._older, *self._writes):
            done.result()
        self._older, self._writes = [], []

    def close(self) -> None:
        """Stop the thread and remove the file."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self.pool.close()

    def _read(self, layer: int, slots: Int64[np.ndarray, " tokens"], after: torch.cuda.Event | None) -> None:
        if after is not None:
            after.synchronize()
        self.pool.read(layer, slots, self._buffer[layer][:, : len(slots)])

    def _write(
        self, layer: int, slots: Int64[np.ndarray, " tokens"], rows: Tensor, copied: torch.cuda.Event
    ) -> None:
        copied.synchronize()
        self.pool.write(layer, slots, rows)

    def _wait(self, done: Future[None]) -> None:
        began = time.perf_counter()
        done.result()
        self.waited_s += time.perf_counter() - began
