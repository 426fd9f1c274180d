"""Where the camera was, by the video frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Int64

from core.memory.viewpoints import Viewpoints
from core.schemas.run import ChunkRecord
from core.viewlog import View

OFF_SCRIPT_UNITS = 1e-3
"""From here on the memory's cameras are not those of the trajectory."""


@dataclass(frozen=True, eq=False)
class Track:
    """Cameras of a run.

    Attributes:
        cameras: Camera-to-world of every video frame, as the trajectory has it.
        viewpoints: The same of every latent frame, as the memory takes it.
        stride: Video frames of a latent frame; the very first one is a single frame.
        latent_ends: Last video frame of every latent frame.
        fov_deg: Horizontal field of view.
    """

    cameras: Float64[np.ndarray, "frames 4 4"]
    viewpoints: Float64[np.ndarray, "latent_frames 4 4"]
    stride: int
    latent_ends: Int64[np.ndarray, " latent_frames"]
    fov_deg: float

    @classmethod
    def of_views(cls, views: Sequence[View], chunks: Sequence[ChunkRecord]) -> Track:
        """From the log of a run."""
        stride = frame_stride(len(views[-1].cameras), len(views[-1].viewpoints), alone=len(views) == 1)
        return cls(
            np.concatenate([view.cameras for view in views]),
            np.concatenate([view.viewpoints for view in views]),
            stride,
            latent_ends(chunks, len(views[0].viewpoints), stride),
            views[0].fov_deg,
        )

    @classmethod
    def of_plan(
        cls, cameras: Float64[np.ndarray, "frames 4 4"], planned: Viewpoints, chunks: Sequence[ChunkRecord]
    ) -> Track:
        """From the settings of a run, up to its last finished chunk."""
        frames = sum(record.num_frames for record in chunks)
        latent = len(chunks) * planned.chunk_frames
        fov = 2 * float(np.degrees(np.arctan(planned.image_size[0] / 2 / planned.intrinsics[0, 0])))
        stride = frame_stride(chunks[-1].num_frames, planned.chunk_frames, alone=len(chunks) == 1)
        ends = latent_ends(chunks, planned.chunk_frames, stride)
        return cls(cameras[:frames], planned.c2w[:latent], stride, ends, round(fov, 3))

    @cached_property
    def reckoned(self) -> bool:
        """Whether the memory goes by dead reckoning, away from the scripted path."""
        ends = np.minimum(self.latent_ends, len(self.cameras) - 1)
        return bool(np.abs(self.cameras[ends, :3] - self.viewpoints[:, :3]).max() > OFF_SCRIPT_UNITS)

    def points(self, most: int) -> Float64[np.ndarray, "points 5"]:
        """Video frame, x, height, z and yaw in degrees (unwrapped) along the path that the memory takes.

        Args:
            most: Points at most, spread evenly over time.
        """
        chosen = np.unique(np.linspace(0, len(self.viewpoints) - 1, most).round().astype(np.int64))
        if len(self.viewpoints) <= most:
            chosen = np.arange(len(self.viewpoints))
        c2w = self.viewpoints
        yaw = np.unwrap(np.degrees(np.arctan2(c2w[:, 0, 2], c2w[:, 2, 2])), period=360.0)
        x, height, z = c2w[chosen, 0, 3], -c2w[chosen, 1, 3], c2w[chosen, 2, 3]
        return np.stack([self.latent_ends[chosen].astype(np.float64), x, height, z, yaw[chosen]], axis=1)


def frame_stride(num_frames: int, latent_frames: int, *, alone: bool) -> int:
    """Video frames of a latent frame.

    Args:
        num_frames: Video frames of the last chunk.
        latent_frames: Its latent frames.
        alone: Whether it is also the first chunk, whose first latent frame is a single video frame.
    """
    if alone and latent_frames > 1:
        return max(1, (num_frames - 1) // (latent_frames - 1))
    return max(1, num_frames // latent_frames)


def latent_ends(
    chunks: Sequence[ChunkRecord], chunk_frames: int, stride: int
) -> Int64[np.ndarray, " latent_frames"]:
    """Last video frame of every latent frame."""
    back = stride * np.arange(chunk_frames - 1, -1, -1)
    return np.concatenate([record.first_frame + record.num_frames - 1 - back for record in chunks])
