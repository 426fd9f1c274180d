"""Copies between rows in host memory and rows on the device, in as few pieces as they lie in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from core.memory.bank_bytes import BLOCK_TOKENS

MOST_RUNS = 256
"""Pieces in which rows are copied between host and device; what is more scattered is gathered first."""


class Run(NamedTuple):
    """Rows side by side on both ends: the first on the device, the first in the pool, how many."""

    at: int
    slot: int
    num_rows: int


def blocks(count: int) -> Iterator[slice]:
    """So many rows, a block at a time: what is in between takes little room."""
    return (slice(start, min(start + BLOCK_TOKENS, count)) for start in range(0, count, BLOCK_TOKENS))


def find_runs(at: Int64[np.ndarray, " rows"], slots: Int64[np.ndarray, " rows"]) -> list[Run] | None:
    """Rows that lie side by side on both ends in one piece; None if there are too many pieces.

    Args:
        at: Of each row, its place on the device.
        slots: Its slot in the pool.
    """
    if not len(slots):
        return []
    breaks = np.flatnonzero((np.diff(at) != 1) | (np.diff(slots) != 1)) + 1
    if len(breaks) >= MOST_RUNS:
        return None
    starts = np.concatenate([[0], breaks])
    lengths = np.diff(starts, append=len(slots))
    return [
        Run(*each) for each in zip(at[starts].tolist(), slots[starts].tolist(), lengths.tolist(), strict=True)
    ]


def bring_rows(
    pool: Int64[Tensor, "batch slots words"],
    runs: list[Run] | None,
    slots: Int64[Tensor, " rows"],
    at: Int64[Tensor, " rows"],
    out: Int64[Tensor, "batch places words"],
) -> None:
    """Copy slots of a pool in host memory to places on the device; nobody waits for it if there are runs."""
    if runs is None:
        if out.device.type == "cuda":  # what is still being stored must have arrived
            torch.cuda.current_stream(out.device).synchronize()
        for block in blocks(len(slots)):
            out.index_copy_(1, at[block], pool.index_select(1, slots[block]).to(out.device))
        return
    for start, slot, count in runs:
        out[:, start : start + count].copy_(pool[:, slot : slot + count], non_blocking=True)


def send_rows(
    rows: Int64[Tensor, "batch places words"],
    runs: list[Run] | None,
    slots: Int64[Tensor, " rows"],
    at: Int64[Tensor, " rows"],
    pool: Int64[Tensor, "batch slots words"],
) -> None:
    """Copy places on the device to slots of a pool in host memory; nobody waits for it if there are runs."""
    if runs is None:
        for block in blocks(len(slots)):
            pool.index_copy_(1, slots[block], rows.index_select(1, at[block]).to(pool.device))
        return
    for start, slot, count in runs:
        pool[:, slot : slot + count].copy_(rows[:, start : start + count], non_blocking=True)
