"""Reads from disk what the next chunk retrieves while this one is denoised, and writes behind.

One thread does all of it, in the order in which it is asked, so that a read sees every write before it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from core.memory.disk_pool import DiskPool
from core.memory.pinned import pin_in_place

_HINT = "leave out --disk-budget"


class _Sent(NamedTuple):
    """Words of the ring that are on their way to disk."""

    start: int
    stop: int
    done: Future[None]


class ReadAhead:
    """A pool on disk that a device reads from and writes to without waiting, as long as the disk keeps up.

    Args:
        pool: The pool.
        read_tokens: Most tokens that a chunk reads ahead.
        written_tokens: Tokens, with all their layers, that may be on their way to disk at once; who writes
            more than that waits.
        device: Where they come from and go.
    """

    def __init__(
        self, pool: DiskPool, read_tokens: int, written_tokens: int, *, device: torch.device
    ) -> None:
        self.pool, self._device = pool, device
        shape = (pool.num_layers, pool.batch, read_tokens, pool.row_words)
        self._buffer = torch.zeros(shape, dtype=torch.int64)
        words = pool.num_layers * pool.batch * written_tokens * pool.row_words
        self._ring = torch.zeros(words, dtype=torch.int64)
        for memory in (self._buffer, self._ring):
            pin_in_place(memory, device, purpose="what goes to disk and back", hint=_HINT)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bank-disk")
        self._reads: list[Future[None]] = []
        self._sent: deque[_Sent] = deque()  # the oldest first
        self._next = self._count = 0
        self.waited_s = 0.0

    @property
    def nbytes(self) -> int:
        """Host memory of the buffers and of what could not be written."""
        return self._buffer.nbytes + self._ring.nbytes + self.pool.held_bytes

    def start(self, slots: Int64[np.ndarray, " tokens"], after: torch.cuda.Event | None = None) -> None:
        """Begin to read tokens of all layers, in the layers' order.

        Args:
            slots: Of the pool.
            after: When the device has copied what is in the buffer now.
        """
        self._count = len(slots)
        self._reads = [
            self._submit(partial(self._read, layer, slots, after if layer == 0 else None))
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
        self._wait(self._submit(partial(self.pool.read, layer, slots, out)))
        return out

    def write(
        self, layer: int, slots: Int64[np.ndarray, " tokens"], rows: Int64[Tensor, "batch tokens words"]
    ) -> None:
        """Write tokens of a layer behind; waits only where too many are on their way already."""
        held = self._room(rows.numel()).view(rows.shape)
        held.copy_(rows, non_blocking=True)
        copied: torch.cuda.Event | None = None
        if self._device.type == "cuda":
            copied = torch.cuda.Event()
            copied.record(torch.cuda.current_stream(self._device))
        done = self._submit(partial(self._write, layer, slots, held, copied))
        self._sent.append(_Sent(self._next - rows.numel(), self._next, done))

    def drain(self) -> None:
        """Wait until everything is written."""
        while self._sent:
            self._sent.popleft().done.result()

    def close(self) -> None:
        """Stop the thread and remove the file."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self.pool.close()

    def _room(self, words: int) -> Int64[Tensor, " words"]:
        """A free stretch of the ring; waits until what lay there is written."""
        if self._next + words > len(self._ring):
            while self._sent and self._sent[0].start >= self._next:
                self._wait(self._sent.popleft().done)
            self._next = 0
        stop = self._next + words
        while self._sent and self._next <= self._sent[0].start < stop:
            self._wait(self._sent.popleft().done)
        self._next = stop
        return self._ring[stop - words : stop]

    def _submit(self, work: Callable[[], None]) -> Future[None]:
        return self._thread.submit(_as_data, work)

    def _read(self, layer: int, slots: Int64[np.ndarray, " tokens"], after: torch.cuda.Event | None) -> None:
        if after is not None:
            after.synchronize()
        self.pool.read(layer, slots, self._buffer[layer][:, : len(slots)])

    def _write(
        self,
        layer: int,
        slots: Int64[np.ndarray, " tokens"],
        rows: Tensor,
        copied: torch.cuda.Event | None,
    ) -> None:
        if copied is not None:
            copied.synchronize()
        self.pool.write(layer, slots, rows)

    def _wait(self, done: Future[None]) -> None:
        began = time.perf_counter()
        done.result()
        self.waited_s += time.perf_counter() - began


def _as_data(work: Callable[[], None]) -> None:
    """Run in the thread, which knows nothing of the rollout's inference mode."""
    with torch.inference_mode():
        work()
