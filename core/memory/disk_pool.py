"""The bank's rows on disk: one raw file in the run folder, which never outlives the run.

Where the system allows it, the file has no name any more when the first row is written: whatever ends the
process, a SIGKILL included, the system frees the room. Rows of a layer lie side by side,

    offset of a row = ((layer * batch + rollout) * slots + slot) * row bytes

and go straight between file and tensor memory, neighbouring slots in one call.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from core.errors import InputError, OutputError
from core.memory.raw_file import RawFile
from core.memory.row_bytes import WORD_BYTES

log = logging.getLogger(__name__)


class Stretch(NamedTuple):
    """Slots side by side in the file.

    Attributes:
        slot: The first of them.
        pieces: Tokens that hold them, in the slots' order: first token and one after the last, side by side.
        num_slots: How many slots.
    """

    slot: int
    pieces: list[tuple[int, int]]
    num_slots: int


class DiskPool:
    """A pool of rows for every layer, in a file.

    Reading and writing may go on at once in several threads, as long as they are about different slots.
    Rows that the disk refuses later all the same (it breaks, it was filled by others where room cannot be
    reserved) stay in host memory; the user is warned once, and the run goes on.

    Args:
        folder: Where the file is made: the run folder.
        num_layers: Layers.
        batch: Rollouts that run side by side with one plan.
        slots: Rows of a layer and rollout.
        row_words: 8-byte words of a row.

    Raises:
        OutputError: There is no room for it, or no file can be made there.
    """

    def __init__(self, folder: Path, num_layers: int, batch: int, slots: int, row_words: int) -> None:
        if min(num_layers, batch, row_words) < 1 or slots < 0:
            raise InputError(
                f"no pool has {num_layers} layers, {batch} rollouts, {slots} slots, {row_words} words a row",
                where="disk pool",
                hint="take the sizes from the plan instead of writing them by hand",
            )
        self.num_layers, self.batch, self.slots, self.row_words = num_layers, batch, slots, row_words
        self.failures = 0
        self._held: dict[tuple[int, int], Int64[Tensor, "batch words"]] = {}
        self._lock = threading.Lock()
        self._file = RawFile(folder, self.nbytes, prefix="bank-", purpose="the bank's rows on disk")

    @property
    def nbytes(self) -> int:
        """Bytes of the file."""
        return self.num_layers * self.batch * self.slots * self._row_bytes

    @property
    def held_bytes(self) -> int:
        """Bytes of rows that the disk refused and that lie in host memory instead."""
        return len(self._held) * self.batch * self._row_bytes

    def write(
        self, layer: int, slots: Int64[np.ndarray, " tokens"], rows: Int64[Tensor, "batch tokens words"]
    ) -> None:
        """Put rows of one layer into slots.

        Args:
            layer: The layer.
            slots: Where each token goes, no two to the same.
            rows: In host memory; contiguous ones are not copied.

        Raises:
            InputError: Layer, slots or rows do not go with this pool.
            OutputError: The pool is closed.
        """
        self._check(layer, slots, rows)
        rows = rows.contiguous()
        held, others = self._held_tokens(layer, slots)
        for token, row in held:  # once refused, a slot stays in memory: a disk that fails may be slow, too
            row.copy_(rows[:, token])
        for stretch in _stretches(slots, others):
            try:
                for rollout, views in self._views(rows, stretch):
                    self._file.write(self._offset(layer, rollout, stretch.slot), views)
            except OSError as error:
                self._hold(layer, stretch, rows, error)

    def read(
        self, layer: int, slots: Int64[np.ndarray, " tokens"], out: Int64[Tensor, "batch tokens words"]
    ) -> None:
        """Fill `out` with the rows of one layer's slots, in the order in which they are named.

        Args:
            layer: The layer.
            slots: Where each token lies; a slot that was never written holds zeros.
            out: In host memory; a contiguous one is filled without another copy.

        Raises:
            InputError: As `write`.
            OutputError: The disk does not give the rows back, or the pool is closed.
        """
        self._check(layer, slots, out)
        target = out if out.is_contiguous() else torch.empty(out.shape, dtype=out.dtype)
        held, others = self._held_tokens(layer, slots)
        for token, row in held:
            target[:, token] = row
        stretches = list(_stretches(slots, others))
        for stretch in stretches if len(stretches) > 1 else []:  # scattered rows come three times as fast
            for rollout in range(self.batch):
                at = self._offset(layer, rollout, stretch.slot)
                self._file.expect(at, stretch.num_slots * self._row_bytes)
        for stretch in stretches:
            for rollout, views in self._views(target, stretch):
                self._read_stretch(layer, rollout, stretch, views)
        if target is not out:
            out.copy_(target)

    def state(self) -> dict[str, Tensor]:
        """Everything a snapshot needs, in host memory.

        Raises:
            OutputError: As `read`.
        """
        rows = torch.empty((self.num_layers, self.batch, self.slots, self.row_words), dtype=torch.int64)
        for layer in range(self.num_layers):
            self.read(layer, np.arange(self.slots), rows[layer])
        return {"rows": rows}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over a snapshot of the same shape.

        Raises:
            InputError: It is of another shape.
        """
        rows = state["rows"]
        if rows.shape != (self.num_layers, self.batch, self.slots, self.row_words):
            raise self._misfit(f"a snapshot of shape {tuple(rows.shape)}")
        for layer in range(self.num_layers):
            self.write(layer, np.arange(self.slots), rows[layer])

    def close(self) -> None:
        """Give the room back; once nobody reads or writes any more. Closing twice does nothing."""
        self._file.close()
        self._held.clear()

    def __enter__(self) -> DiskPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _row_bytes(self) -> int:
        return self.row_words * WORD_BYTES

    def _offset(self, layer: int, rollout: int, slot: int) -> int:
        return ((layer * self.batch + rollout) * self.slots + slot) * self._row_bytes

    def _check(
        self, layer: int, slots: Int64[np.ndarray, " tokens"], rows: Int64[Tensor, "batch tokens words"]
    ) -> None:
        self._file.check_open()
        if rows.shape != (self.batch, len(slots), self.row_words) or rows.device.type != "cpu":
            raise self._misfit(f"rows of shape {tuple(rows.shape)} on {rows.device} for {len(slots)} slots")
        if not 0 <= layer < self.num_layers:
            raise self._misfit(f"layer {layer}")
        if len(slots) and (slots.min() < 0 or slots.max() >= self.slots):
            raise self._misfit(f"slots from {slots.min()} to {slots.max()}")

    def _misfit(self, what: str) -> InputError:
        return InputError(
            f"{what} in a disk pool of {self.num_layers} layers, {self.batch} rollouts, {self.slots} slots "
            f"and {self.row_words} words a row",
            where="disk pool",
            hint="hand in what the plan says, in host memory",
        )

    def _views(
        self, rows: Int64[Tensor, "batch tokens words"], stretch: Stretch
    ) -> Iterator[tuple[int, list[memoryview]]]:
        """For every rollout, the memory of a stretch's tokens."""
        size = self._row_bytes
        for rollout in range(self.batch):
            memory = rows[rollout].numpy().data.cast("B")
            yield rollout, [memory[first * size : last * size] for first, last in stretch.pieces]

    def _read_stretch(self, layer: int, rollout: int, stretch: Stretch, views: list[memoryview]) -> None:
        try:
            self._file.read(self._offset(layer, rollout, stretch.slot), views)
        except OSError as error:
            raise OutputError(
                f"the bank's rows cannot be read back from disk: {error.strerror or error}",
                where=f"{self._file.folder}, layer {layer}, slots {stretch.slot} to "
                f"{stretch.slot + stretch.num_slots - 1}",
                hint="check the disk; --out on another one avoids it",
            ) from error

    def _held_tokens(
        self, layer: int, slots: Int64[np.ndarray, " tokens"]
    ) -> tuple[list[tuple[int, Int64[Tensor, "batch words"]]], Int64[np.ndarray, " rest"]]:
        """Tokens whose slots the disk refused, with the rows held for them; and the other tokens."""
        if not self._held:
            return [], np.arange(len(slots))
        with self._lock:
            rows = [self._held.get((layer, slot)) for slot in slots.tolist()]
        held = [(token, row) for token, row in enumerate(rows) if row is not None]
        return held, np.flatnonzero([row is None for row in rows])

    def _hold(
        self, layer: int, stretch: Stretch, rows: Int64[Tensor, "batch tokens words"], error: OSError
    ) -> None:
        """Keep what the disk refused; a copy, since the caller's rows are a buffer used again."""
        with self._lock:
            tokens = [token for first, last in stretch.pieces for token in range(first, last)]
            for slot, token in enumerate(tokens, start=stretch.slot):
                self._held[layer, slot] = rows[:, token].clone()
            self.failures += 1
            first = self.failures == 1
        if first:
            log.warning(
                "the disk of %s refuses rows of the bank (%s): what it refuses stays in host memory, "
                "beyond --ram-budget if need be, and the run goes on",
                self._file.folder,
                error.strerror or error,
            )


def _stretches(slots: Int64[np.ndarray, " all"], tokens: Int64[np.ndarray, " tokens"]) -> Iterator[Stretch]:
    """Some tokens, cut where their slots, in ascending order, are not neighbours."""
    order = tokens[np.argsort(slots[tokens], kind="stable")]
    at = slots[order]
    cuts = np.flatnonzero((np.diff(at) != 1) | (np.diff(order) != 1)) + 1
    edges = [0, *cuts.tolist(), len(order)] if len(order) else []
    growing: Stretch | None = None
    for first, last in pairwise(edges):
        slot, token, count = int(at[first]), int(order[first]), last - first
        piece = (token, token + count)
        if growing is not None and slot == growing.slot + growing.num_slots:
            growing.pieces.append(piece)
            growing = growing._replace(num_slots=growing.num_slots + count)
            continue
        if growing is not None:
            yield growing
        growing = Stretch(slot, [piece], count)
    if growing is not None:
        yield growing
