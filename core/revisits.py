"""Watches a rollout for revisits while it runs: which frames to compare is known from the cameras alone.

Only the frames of those pairs are kept, at most 64 revisits and as many controls, so memory does not grow.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, UInt8

from core.fidelity.compare import compare_pairs
from core.fidelity.controls import matched_controls
from core.fidelity.pairs import revisit_pairs
from core.schemas.run import Fidelity
from trajectories.summary import MAX_SEARCHED_FRAMES


class RevisitWatch:
    """Collects the frames that matter and compares them.

    Args:
        c2w: Camera of every video frame. Very long videos are not searched: that compares all pairs.
        given_frames: First frames that were given: they are first visits, but tell nothing as revisits.
    """

    def __init__(self, c2w: Float64[np.ndarray, "frames 4 4"], given_frames: int = 0) -> None:
        searched = len(c2w) <= MAX_SEARCHED_FRAMES
        self._pairs = revisit_pairs(c2w, given_frames=given_frames) if searched else []
        self._controls = matched_controls(c2w, self._pairs, given_frames=given_frames)
        self._wanted = {f for p in (*self._pairs, *self._controls) for f in (p.later, p.earlier)}
        self._kept: dict[int, UInt8[np.ndarray, "height width 3"]] = {}
        self._num_frames = 0
        self._last: UInt8[np.ndarray, "height width 3"] | None = None
        self._motion_sum = 0.0

    def push(self, frame: UInt8[np.ndarray, "height width 3"]) -> None:
        """Take the next video frame."""
        if self._last is not None:
            self._motion_sum += float(np.abs(frame.astype(np.int16) - self._last).mean())
        if self._num_frames in self._wanted:
            self._kept[self._num_frames] = frame.copy()  # not a view, which would keep its whole chunk
        self._last = frame
        self._num_frames += 1

    def fidelity(self) -> Fidelity | None:
        """How well the rollout remembered; None if it has not returned anywhere yet."""
        motion = self._motion_sum / max(1, self._num_frames - 1)
        found = compare_pairs(self._kept, self._pairs, self._controls, motion=motion)
        if found.revisit is None:
            return None
        control = found.control
        return Fidelity(
            pairs=len(found.pairs),
            psnr_db=round(found.revisit.psnr_db, 4),
            ssim=round(found.revisit.ssim, 4),
            sharpness=round(found.revisit.sharpness, 4),
            control_psnr_db=round(control.psnr_db, 4) if control is not None else None,
            control_ssim=round(control.ssim, 4) if control is not None else None,
            motion=round(motion, 4),
        )
