"""Whole chunks whose mean camera is nearest: the paper's strategy, as released."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from core.errors import InputError
from core.memory.selection import Selection
from core.memory.viewpoints import Viewpoints

TIE_DIGITS = 7
"""Distances that agree to so many decimals are ties: returning to a viewpoint leaves rounding noise."""

BLOCK_CHUNKS = 16
"""Coming chunks whose distances are computed at once."""


@dataclass(frozen=True)
class Pose:
    """The k candidates with the smallest pose distance, nearest first, ties to the older chunk.

    Distance: squared distance of the mean positions and angle between the mean rotation matrices, each
    divided by its largest value over the candidates, half and half. Hence scores of different chunks do not
    compare.

    Source: Yi et al. 2026, arXiv:2605.22718, and its release.

    Attributes:
        num_chunks: Chunks to retrieve.
    """

    name: ClassVar[str] = "pose"
    whole_chunks: ClassVar[bool] = True

    num_chunks: int = 3

    def __post_init__(self) -> None:
        if self.num_chunks < 1:
            raise InputError(f"num_chunks must be positive, got {self.num_chunks}", where="--retrieve")

    @property
    def max_chunks(self) -> int | None:
        """Most chunks that one selection takes."""
        return self.num_chunks

    def select_all(
        self,
        viewpoints: Viewpoints,
        asked: Sequence[tuple[int, range]],
        budget_tokens: int,  # noqa: ARG002 -- whole chunks: the plan has checked that num_chunks fit
    ) -> Iterator[list[Selection]]:
        """`select` for many coming chunks: the same but for the last bits of the scores."""
        positions, rotations = _chunk_means(viewpoints)
        columns, flat = np.ascontiguousarray(positions.T), rotations.reshape(-1, 9)
        for start in range(0, len(asked), BLOCK_CHUNKS):
            block = asked[start : start + BLOCK_CHUNKS]
            last = max((past.stop for _, past in block if past), default=0)
            traces = flat[[chunk for chunk, _ in block]] @ flat[:last].T
            for row, (chunk, past) in enumerate(block):
                part = slice(past.start, past.stop, past.step)
                # Squares of differences, not products: equal positions must be no distance apart.
                x, y, z = (np.square(axis[part] - axis[chunk]) for axis in columns)
                yield self._nearest(x + y + z, traces[row, part], past)

    def _nearest(
        self, squared: Float64[np.ndarray, " n"], traces: Float64[np.ndarray, " n"], candidates: range
    ) -> list[Selection]:
        """The first so many by distance, ties to the older chunk."""
        if not candidates:
            return []
        distances = _mixed(squared, traces)
        levels = np.rint(distances * 10**TIE_DIGITS)
        nearest = []
        for _ in range(min(self.num_chunks, len(candidates))):
            best = int(levels.argmin())  # the first of equals
            nearest.append(Selection(candidates[best], None, float(distances[best])))
            levels[best] = np.inf
        return nearest

    def select(
        self,
        viewpoints: Viewpoints,
        chunk: int,
        candidates: Sequence[int],
        budget_tokens: int,  # noqa: ARG002 -- whole chunks: the plan has checked that num_chunks fit
    ) -> list[Selection]:
        """Take the nearest chunks."""
        index = np.asarray(candidates, dtype=np.int64)
        if not len(index):
            return []
        distances = pose_distances(viewpoints, chunk, candidates)
        nearest = np.argsort(np.round(distances, TIE_DIGITS), kind="stable")[: self.num_chunks]
        return [Selection(int(index[i]), None, float(distances[i])) for i in nearest]


def pose_distances(
    viewpoints: Viewpoints, chunk: int, candidates: Sequence[int]
) -> Float64[np.ndarray, " candidates"]:
    """Pose distance of each candidate to a chunk. Range: [0, 1]."""
    index = np.asarray(candidates, dtype=np.int64)
    positions, rotations = _chunk_means(viewpoints)
    squared = ((positions[index] - positions[chunk]) ** 2).sum(axis=1)
    # trace(A^T B) is the sum of the elementwise product
    return _mixed(squared, (rotations[index] * rotations[chunk]).sum(axis=(1, 2)))


def _mixed(
    squared: Float64[np.ndarray, " n"], traces: Float64[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    """Half and half: squared distances and angles of rotations, each by its largest value."""
    cosines = (traces - 1) / 2
    np.minimum(cosines, 1.0, out=cosines)
    angles = np.arccos(np.maximum(cosines, -1.0, out=cosines), out=cosines)
    return 0.5 * _by_maximum(squared) + 0.5 * _by_maximum(angles)


def _by_maximum(values: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    largest = values.max(initial=0.0)
    return values / largest if largest > 0 else values


@lru_cache(maxsize=4)
def _chunk_means(
    viewpoints: Viewpoints,
) -> tuple[Float64[np.ndarray, "chunks 3"], Float64[np.ndarray, "chunks 3 3"]]:
    """Mean position and plain mean of the rotation matrices (not a rotation) of every chunk."""
    by_chunk = viewpoints.c2w.reshape(viewpoints.num_chunks, viewpoints.chunk_frames, 4, 4)
    mean = by_chunk.mean(axis=1)
    return mean[:, :3, 3], mean[:, :3, :3]
