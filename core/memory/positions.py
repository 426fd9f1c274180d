"""At which latent frame a retrieved key pretends to be: decided when it enters the window.

The bank keeps keys before RoPE, so any position can be given to them; integers only, no tensors.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from jaxtyping import Int64

from core.memory.layout import WindowLayout
from core.memory.step import ChunkStep


class PositionMode(StrEnum):
    """Time positions of retrieved chunks.

    absolute: the latent frames they came from (the paper's default).
    contiguous: laid one after another just before the recent frames, in time order.
    listed: the same in the strategy's order, best match furthest back (the release's RoPE correction).
    slot: as contiguous, but never further back than the model was trained to look; chunks that do not fit
        side by side share positions. Source of the need: WorldTrace, arXiv:2608.07408.

    With contiguous and slot the sink follows, too, as soon as it would be further back than that.
    """

    ABSOLUTE = "absolute"
    CONTIGUOUS = "contiguous"
    LISTED = "listed"
    SLOT = "slot"

    @property
    def moves(self) -> bool:
        """Whether positions change from chunk to chunk, so that every retrieved key must be turned anew."""
        return self is not PositionMode.ABSOLUTE


def sink_start(mode: PositionMode, step: ChunkStep, layout: WindowLayout, *, trained_frames: int) -> int:
    """Latent frame at which the sink stands during a chunk: 0 unless it has to follow the rollout.

    Args:
        mode: How positions are given.
        step: The chunk's step.
        layout: The window.
        trained_frames: Frames back from the newest that the model saw in training.
    """
    if not sink_follows(mode, layout, trained_frames=trained_frames):
        return 0
    return max(0, step.frames + layout.chunk_frames - max(trained_frames, layout.sink_frames))


def sink_follows(mode: PositionMode, layout: WindowLayout, *, trained_frames: int) -> bool:
    """Whether the sink of this rollout ever has to follow."""
    moving = mode in (PositionMode.CONTIGUOUS, PositionMode.SLOT)
    return moving and layout.sink_frames > 0 and layout.num_frames > trained_frames


def frame_shifts(
    mode: PositionMode, step: ChunkStep, layout: WindowLayout, *, trained_frames: int
) -> Int64[np.ndarray, " retrieved"]:
    """Latent frames by which each filled slot of the retrieved region is moved in time.

    Source: WorldKV release 046f6d1, RoPE correction (`listed`).

    Args:
        mode: How positions are given.
        step: The chunk's step; its sources tell which chunk each slot holds.
        layout: The window.
        trained_frames: Frames back from the newest that the model saw in training (`slot` only).
    """
    chunk_of = step.retrieved_sources // layout.tokens_per_chunk
    if mode is PositionMode.ABSOLUTE or not len(chunk_of):
        return np.zeros(len(chunk_of), dtype=np.int64)
    present = np.unique(chunk_of)
    if mode is PositionMode.LISTED:
        present = np.array([s.chunk for s in step.selections], dtype=np.int64)
    carried = len(step.carry_slots) // layout.tokens_per_frame  # whole frames by which recent has grown
    before_recent = max(step.frames - layout.recent_frames - carried, layout.sink_frames)
    room = len(present)
    if mode is PositionMode.SLOT:
        window = layout.sink_frames + layout.recent_frames + layout.chunk_frames
        room = max(1, min(room, (trained_frames - window) // layout.chunk_frames))
    places = np.arange(len(present)) * room // len(present)
    starts = before_recent - layout.chunk_frames * (room - places)
    if (
        mode is PositionMode.SLOT
    ):  # where nothing is free within the trained range, recent frames share theirs
        earliest = step.frames + layout.chunk_frames - max(trained_frames, layout.chunk_frames)
        starts = np.maximum(starts, min(earliest, step.frames))
    order = np.argsort(present)
    at = order[np.searchsorted(present, chunk_of, sorter=order)]
    shifts: Int64[np.ndarray, " retrieved"] = starts[at] - layout.chunk_frames * chunk_of
    return shifts
