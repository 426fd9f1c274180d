"""Watches a rollout for revisits while it runs: which frames to compare is known from the cameras alone.

Only the frames of those pairs are kept, at most 64 revisits and as many controls, so memory does not grow.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, UInt8

from core.fidelity import FramePair, control_pairs, psnr, revisit_pairs, sharpness, ssim
from core.schemas.run import Fidelity
from trajectories.summary import MAX_SEARCHED_FRAMES


class RevisitWatch:
    """Collects the frames that matter and compares them.

    Args:
        c2w: Camera of every video frame. Very long videos are not searched: that compares all pairs.
    """

    def __init__(self, c2w: Float64[np.ndarray, "frames 4 4"]) -> None:
        self._pairs = revisit_pairs(c2w) if len(c2w) <= MAX_SEARCHED_FRAMES else []
        self._controls = control_pairs(c2w, self._pairs)
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
        pairs, controls = self._seen(self._pairs), self._seen(self._controls)
        if not pairs:
            return None
        kept = self._kept
        values = {
            "psnr_db": np.mean([psnr(kept[p.later], kept[p.earlier]) for p in pairs]),
            "ssim": np.mean([ssim(kept[p.later], kept[p.earlier]) for p in pairs]),
            "sharpness": np.mean([sharpness(kept[p.later], kept[p.earlier]) for p in pairs]),
        }
        if controls:
            values["control_psnr_db"] = np.mean([psnr(kept[p.later], kept[p.earlier]) for p in controls])
            values["control_ssim"] = np.mean([ssim(kept[p.later], kept[p.earlier]) for p in controls])
        rounded = {name: round(float(value), 4) for name, value in values.items()}
        motion = self._motion_sum / max(1, self._num_frames - 1)
        return Fidelity(pairs=len(pairs), motion=round(motion, 4), **rounded)

    def _seen(self, pairs: Sequence[FramePair]) -> list[FramePair]:
        return [p for p in pairs if p.later in self._kept and p.earlier in self._kept]
