"""The compiled trajectory: one camera and one action for every video frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64

from trajectories.actions import Gains
from trajectories.errors import MotionError


@dataclass(frozen=True)
class Trajectory:
    """Per-video-frame cameras and actions. Arrays are read-only.

    Args:
        name: Short name, from the file's header or its file name.
        description: One or two sentences for people.
        fps: Video frames per second.
        c2w: Camera-to-world matrices, OpenCV axes, world units. Frame 0 is the start pose.
        intrinsics: fx, fy, cx, cy in pixels of `image_size`.
        image_size: (width, height) in pixels that the intrinsics refer to.
        keyboard: Multi-hot W, S, A, D. The action at frame n moves frame n to n + 1; the last row is zero.
        mouse: (pitch, yaw) in mouse units, up and right positive, with the same timing.
        marks: Name to frame. A mark inside `repeat` has `name`, `name@2`, `name@3`, ... for its passes.
        gains: How far the actions move the camera.
        source: The library name or path it was loaded from.
        source_text: The text it was compiled from.
        source_sha256: SHA-256 of that text (UTF-8), hexadecimal.
    """

    name: str
    description: str
    fps: float
    c2w: Float64[np.ndarray, "frames 4 4"]
    intrinsics: Float64[np.ndarray, "frames 4"]
    image_size: tuple[int, int]
    keyboard: Float32[np.ndarray, "frames 4"]
    mouse: Float32[np.ndarray, "frames 2"]
    marks: Mapping[str, int]
    gains: Gains
    source: str
    source_text: str
    source_sha256: str

    def __post_init__(self) -> None:
        for array in (self.c2w, self.intrinsics, self.keyboard, self.mouse):
            array.flags.writeable = False

    @property
    def num_frames(self) -> int:
        """Number of video frames."""
        return len(self.c2w)

    @property
    def duration_s(self) -> float:
        """Length of the video in seconds."""
        return self.num_frames / self.fps

    def intrinsics_for(self, width: int, height: int) -> Float64[np.ndarray, "frames 4"]:
        """Intrinsics in pixels of another image size: x scales with the width, y with the height."""
        scale_x, scale_y = width / self.image_size[0], height / self.image_size[1]
        scaled: Float64[np.ndarray, "frames 4"] = self.intrinsics * [scale_x, scale_y, scale_x, scale_y]
        return scaled

    def slice(self, start: int, stop: int) -> Trajectory:
        """Return frames `start`..`stop` (exclusive) as a trajectory of their own; marks move along.

        Poses keep their world coordinates. The last action row stays as recorded: it leads out of the slice.

        Raises:
            MotionError: The range is empty or reaches outside the trajectory.
        """
        if not 0 <= start < stop <= self.num_frames:
            raise MotionError(
                f"frames {start}..{stop} are not inside the trajectory",
                where=self.source,
                hint=f"it has frames 0..{self.num_frames}; start must be smaller than stop",
            )
        return replace(
            self,
            c2w=self.c2w[start:stop].copy(),
            intrinsics=self.intrinsics[start:stop].copy(),
            keyboard=self.keyboard[start:stop].copy(),
            mouse=self.mouse[start:stop].copy(),
            marks={name: frame - start for name, frame in self.marks.items() if start <= frame < stop},
        )

    def fit_chunks(
        self, *, first_frames: int, later_frames: int, how: Literal["cut", "pad"]
    ) -> tuple[Trajectory, int]:
        """Make the trajectory fill whole chunks.

        Args:
            first_frames: Video frames of the first chunk.
            later_frames: Video frames of each later chunk.
            how: `cut` drops the frames of the unfinished chunk; `pad` holds the last pose until it is full.

        Returns:
            The fitted trajectory, and the number of frames added (positive) or removed (negative).

        Raises:
            MotionError: Cutting would leave nothing, because not even the first chunk is full.
        """
        spare = self.num_frames - first_frames
        if how == "cut" and spare < 0:
            raise MotionError(
                f"{self.num_frames} frames do not fill the first chunk of {first_frames}",
                where=self.source,
                hint="make the trajectory longer, or pad it",
            )
        whole = -(-max(spare, 0) // later_frames) if how == "pad" else spare // later_frames
        num_frames = first_frames + whole * later_frames
        change = num_frames - self.num_frames
        if change == 0:
            return self, 0
        return (self.slice(0, num_frames) if change < 0 else self._held_for(change)), change

    def _held_for(self, extra_frames: int) -> Trajectory:
        """Hold the last pose for more frames, without action."""
        last = slice(-1, None)
        return replace(
            self,
            c2w=np.concatenate([self.c2w, np.repeat(self.c2w[last], extra_frames, axis=0)]),
            intrinsics=np.concatenate(
                [self.intrinsics, np.repeat(self.intrinsics[last], extra_frames, axis=0)]
            ),
            keyboard=np.concatenate([self.keyboard[:-1], np.zeros((extra_frames + 1, 4), np.float32)]),
            mouse=np.concatenate([self.mouse[:-1], np.zeros((extra_frames + 1, 2), np.float32)]),
        )
