"""Which frames of a rollout are compared: known from its cameras alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from trajectories.geometry import revisits

MAX_DISTANCE = 0.15
"""Largest |translation| + angle / pi of a revisit: 27 degrees, or 0.15 world units."""
MIN_GAP_FRAMES = 30
MAX_PAIRS = 64
CONTROL_DISTANCE = 0.3
"""Least distance of a control pair: far enough that most of the view differs."""


@dataclass(frozen=True)
class FramePair:
    """Two frames of one rollout, `later` after `earlier`."""

    later: int
    earlier: int

    @property
    def gap_frames(self) -> int:
        """Video frames between them."""
        return self.later - self.earlier


def revisit_pairs(
    c2w: Float64[np.ndarray, "frames 4 4"],
    *,
    max_distance: float = MAX_DISTANCE,
    min_gap_frames: int = MIN_GAP_FRAMES,
    max_pairs: int = MAX_PAIRS,
    given_frames: int = 0,
) -> list[FramePair]:
    """Frames that return to an earlier view, each with its earliest visit; evenly thinned to `max_pairs`.

    Args:
        c2w: Camera of every video frame.
        max_distance: Largest |translation| + angle / pi.
        min_gap_frames: Least gap between the two visits.
        max_pairs: Most pairs.
        given_frames: First frames that were given: they are first visits, but tell nothing as revisits.
    """
    found = revisits(c2w, max_distance=max_distance, min_gap_frames=min_gap_frames)
    pairs = [
        FramePair(later=each.frame, earlier=each.first_frame) for each in found if each.frame >= given_frames
    ]
    if len(pairs) <= max_pairs:
        return pairs
    chosen = np.linspace(0, len(pairs) - 1, max_pairs).round().astype(int)
    return [pairs[index] for index in chosen]


def view_distance(
    a: Float64[np.ndarray, "frames 4 4"], b: Float64[np.ndarray, "frames 4 4"]
) -> Float64[np.ndarray, " frames"]:
    """|translation| + angle / pi between two cameras each, the distance that defines revisits."""
    cosine = (np.einsum("fij,fij->f", a[:, :3, :3], b[:, :3, :3]) - 1) / 2
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    distance: Float64[np.ndarray, " frames"] = (
        np.linalg.norm(a[:, :3, 3] - b[:, :3, 3], axis=1) + angle / np.pi
    )
    return distance
