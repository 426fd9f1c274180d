"""`rays` by the cell: handing out cells until the token budget is full.

shapes: b coming chunks, q query rays of each; cells are those of all past frames that a chunk looks at
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Int32, Int64

from core.memory.strategies.ray_pairs import USELESS, far_level

FIRST_RANKS = 12
"""Nearest cells of a query ray looked at first; doubled until the budget is full."""


@dataclass(frozen=True, eq=False)
class TakenCells:
    """Cells that coming chunks take; those of one chunk in the order in which they were taken.

    Attributes:
        chunk: Which of the coming chunks.
        cell: Past frame (place in the chunk's list) * cells of a frame + cell.
        level: Distance in levels.
        tokens: Tokens taken of the cell: fewer than it has where the budget cuts it.
        whole: Tokens that the cell has.
    """

    chunk: Int64[np.ndarray, " taken"]
    cell: Int64[np.ndarray, " taken"]
    level: Int64[np.ndarray, " taken"]
    tokens: Int64[np.ndarray, " taken"]
    whole: Int64[np.ndarray, " taken"]


def take_cells(
    keys: Int32[np.ndarray, "b q keys"],
    sizes: Int64[np.ndarray, " cells"],
    budget_tokens: int,
    *,
    grid: tuple[int, int],
    step: int,
    last_level: float = math.inf,
) -> TakenCells:
    """Take distinct cells: rank by rank, each rank by key, until the token budget is full.

    Where the keys name too few cells, the neighbours of those taken fill the rest, then their neighbours: the
    nearer the cell that they border on, the sooner. Frames of which no cell is named give none.

    Args:
        keys: For each query the keys of cells: level * cells + cell, or USELESS.
        sizes: Tokens of every cell that a key can name.
        budget_tokens: Tokens that each coming chunk may take.
        grid: Rows and columns of cells of a frame.
        step: Levels from a cell to its neighbour.
        last_level: Neighbours beyond this level are of no use.
    """
    keys = np.sort(keys, axis=2)
    parts: list[TakenCells] = []
    unfilled, ranks = np.arange(len(keys)), FIRST_RANKS
    while len(unfilled):
        ranks = min(ranks, keys.shape[2])
        by_rank = np.sort(keys[unfilled, :, :ranks].swapaxes(1, 2), axis=2).reshape(len(unfilled), -1)
        order, tokens = _without_repeats(by_rank, sizes)
        full = tokens.sum(axis=1) >= budget_tokens
        parts.append(_hand_out(unfilled[full], order[full], tokens[full], len(sizes), budget_tokens))
        unfilled, ranks = unfilled[~full], 2 * ranks
        if by_rank.shape[1] == keys.shape[1] * keys.shape[2]:
            around = _around(order[~full], len(sizes), grid, step, last_level)
            order = np.concatenate([order[~full], around], axis=1)
            tokens = np.concatenate([tokens[~full], _tokens(around, sizes)], axis=1)
            parts.append(_hand_out(unfilled, order, tokens, len(sizes), budget_tokens))
            break
    fields = ("chunk", "cell", "level", "tokens", "whole")
    return TakenCells(*(np.concatenate([getattr(part, field) for part in parts]) for field in fields))


def first_of_each(ids: Int[np.ndarray, "rows columns"], count: int) -> Int64[np.ndarray, "rows count"]:
    """Column at which each id below `count` first occurs in its row; the number of columns if it does not.

    An id of `count` itself is skipped.
    """
    rows, columns = ids.shape
    first = np.full((rows, count + 1), columns, dtype=np.int64)
    # Assigned from right to left, so that the leftmost stays.
    at = ids[:, ::-1] + np.arange(rows)[:, None] * (count + 1)
    first.reshape(-1)[at.reshape(-1)] = np.tile(np.arange(columns - 1, -1, -1), rows)
    return first[:, :-1]


def first_few(owners: Int[np.ndarray, "rows columns"], most: int) -> Bool[np.ndarray, "rows columns"]:
    """Where fewer than so many equal numbers stand before a number in its row."""
    order = np.argsort(owners, axis=1, kind="stable")
    ranked = np.take_along_axis(owners, order, axis=1)
    columns = np.broadcast_to(np.arange(owners.shape[1]), owners.shape)
    begins = np.ones(owners.shape, dtype=bool)
    begins[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    number = columns - np.maximum.accumulate(np.where(begins, columns, 0), axis=1)
    few = np.empty(owners.shape, dtype=bool)
    np.put_along_axis(few, order, number < most, axis=1)
    return few


def _without_repeats(
    keys: Int32[np.ndarray, "b keys"], sizes: Int64[np.ndarray, " cells"]
) -> tuple[Int32[np.ndarray, "b keys"], Int64[np.ndarray, "b keys"]]:
    """USELESS in place of the keys whose cell occurred before, and the tokens of the cells of the others."""
    first = first_of_each(np.where(keys == USELESS, len(sizes), _cells(keys, len(sizes))), len(sizes))
    row, cell = np.nonzero(first < keys.shape[1])
    at = first[row, cell]
    distinct, tokens = np.full_like(keys, USELESS), np.zeros(keys.shape, dtype=np.int64)
    distinct[row, at] = keys[row, at]
    tokens[row, at] = sizes[cell]
    return distinct, tokens


def _cells(keys: Int32[np.ndarray, "*_"], count: int) -> Int32[np.ndarray, "*_"]:
    """The same as keys % count, but fast."""
    return np.asarray(keys - keys // np.int32(count) * np.int32(count))


def _around(
    keys: Int32[np.ndarray, "b keys"], count: int, grid: tuple[int, int], step: int, last_level: float
) -> Int32[np.ndarray, "b cells"]:
    """Keys, ascending, of the cells that are not named, each a step further than its nearest neighbour."""
    row, at = np.nonzero(keys != USELESS)
    named = keys[row, at]
    unreached = far_level(count) + 1
    levels = np.full((len(keys), count), unreached, dtype=np.int32)
    levels[row, named % count] = named // count
    field = levels.reshape(len(keys), count // (grid[0] * grid[1]), *grid)
    for axis in (2, 3):
        lines = np.moveaxis(field, axis, 0)
        for here, there in [
            *zip(lines[1:], lines, strict=False),
            *zip(lines[-2::-1], lines[::-1], strict=False),
        ]:
            np.minimum(here, there + step, out=here)
    found = levels * np.int32(count) + np.arange(count, dtype=np.int32)
    found[(levels > last_level) | (levels >= unreached)] = USELESS
    found[row, named % count] = USELESS
    return np.sort(found, axis=1)


def _tokens(
    keys: Int32[np.ndarray, "b keys"], sizes: Int64[np.ndarray, " cells"]
) -> Int64[np.ndarray, "b keys"]:
    return np.where(keys == USELESS, 0, sizes[keys % len(sizes)])


def _hand_out(
    chunks: Int64[np.ndarray, " b"],
    keys: Int32[np.ndarray, "b keys"],
    whole: Int64[np.ndarray, "b keys"],
    count: int,
    budget_tokens: int,
) -> TakenCells:
    """The first cells, until the budget is full."""
    before = np.cumsum(whole, axis=1) - whole
    row, at = np.nonzero((whole > 0) & (before < budget_tokens))
    level, cell = np.divmod(keys[row, at].astype(np.int64), count)
    tokens = whole[row, at]
    return TakenCells(chunks[row], cell, level, np.minimum(tokens, budget_tokens - before[row, at]), tokens)
