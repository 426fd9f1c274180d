"""The past chunks whose cameras are near to that of a coming chunk, for what looks at chunks closely."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int64

from core.memory.strategies.ray_index import frame_index
from core.memory.viewpoints import Viewpoints

GROUP_CHUNKS = 4
"""Different views that follow each other and come onto the list, or stay off it, as one."""

BLOCK_CHUNKS = 64
"""Coming chunks for which lists are made at once."""

SAME_VIEW_RAD = 0.05
"""Of chunks whose views differ by less the oldest is listed: laps must not fill the list with one view."""

LEVEL_RAD = 1e-3
"""Width of a level: groups that are less apart are told apart by age."""


def near_chunks(
    viewpoints: Viewpoints, asked: Sequence[tuple[int, range]], *, count: int, weight: float
) -> Iterator[Int64[np.ndarray, " listed"]]:
    """The about so many candidates of each coming chunk with the nearest cameras, ascending.

    All of them while they are no more than that. Near is a camera that could see the same with the least
    turning and moving: the middle frames of chunks are compared.

    Args:
        viewpoints: Cameras.
        asked: Coming chunks with their candidates, which begin alike where there are any.
        count: Candidates listed.
        weight: Radians that one trajectory unit between camera centres counts for.
    """
    widest = max((candidates for _, candidates in asked), key=len, default=range(0))
    middle = viewpoints.chunk_frames // 2
    frames = np.arange(widest.start, widest.stop, dtype=np.int64) * viewpoints.chunk_frames + middle
    half = (np.array(viewpoints.image_size) / 2 / viewpoints.intrinsics[:, :2]).max(axis=1)
    index = frame_index(
        viewpoints,
        frames,
        cones=np.arctan(half),
        copies=1,
        slack_rad=SAME_VIEW_RAD,
        weight=weight,
        group_frames=GROUP_CHUNKS,
    )
    for start in range(0, len(asked), BLOCK_CHUNKS):
        block = asked[start : start + BLOCK_CHUNKS]
        groups = int(np.searchsorted(index.starts, max(len(past) for _, past in block)))
        coming = np.array([[chunk * viewpoints.chunk_frames + middle] for chunk, _ in block])
        ranks = index.group_ranks(
            viewpoints.positions[coming], viewpoints.forwards[coming], groups, weight=weight
        )
        keys = (ranks / LEVEL_RAD).astype(np.int64) * groups + np.arange(groups)
        for row, (_, past) in zip(keys, block, strict=True):
            if len(past) <= count:
                yield np.arange(past.start, past.stop, dtype=np.int64)
                continue
            # Groups that are complete, so that they do not depend on what comes later, and those after them.
            known = int(np.searchsorted(index.born, len(past)))
            complete = known // GROUP_CHUNKS
            wanted = min(-(-count // GROUP_CHUNKS), complete)
            best = np.sort(np.argpartition(row[:complete], wanted - 1)[:wanted]) if complete else row[:0]
            places = (best[:, None] * GROUP_CHUNKS + np.arange(GROUP_CHUNKS)).reshape(-1)
            places = np.concatenate([places, np.arange(complete * GROUP_CHUNKS, known)])
            yield past.start + index.born[places]
