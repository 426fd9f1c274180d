"""The camera path of a rollout as LingBot takes it: one camera a latent frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float64

from core.memory.viewpoints import Viewpoints
from core.models.intrinsics import cropped_intrinsics
from core.models.latent_cameras import cameras_at, latent_times, rows_at
from core.models.wan.size import STEP_PX
from trajectories import Trajectory

VIDEO_STRIDE = 4
"""Video frames of a latent frame; the first one of a video is one video frame."""


@dataclass(frozen=True, eq=False, kw_only=True)
class CameraPath:
    """Cameras of all latent frames.

    Attributes:
        c2w: Camera-to-world, in trajectory units.
        intrinsics: fx, fy, cx, cy in pixels of `size`.
        size: Width and height of the video in pixels.
        chunk_frames: Latent frames denoised together.
        scale: Trajectory units that the model takes as 1.
    """

    c2w: Float64[np.ndarray, "frames 4 4"]
    intrinsics: Float64[np.ndarray, "frames 4"]
    size: tuple[int, int]
    chunk_frames: int
    scale: float

    @classmethod
    def exact(
        cls, trajectory: Trajectory, size: tuple[int, int], chunk_frames: int, scale: float | None
    ) -> CameraPath:
        """Every fourth camera of a trajectory in whole chunks; the field of view is kept by cropping.

        Args:
            trajectory: One camera a video frame.
            size: Width and height of the video in pixels.
            chunk_frames: Latent frames denoised together.
            scale: Trajectory units that the model takes as 1; None for the longest step.
        """
        num_latent = (trajectory.num_frames - 1) // VIDEO_STRIDE + 1
        times = latent_times(trajectory.num_frames, num_latent)
        intrinsics = rows_at(cropped_intrinsics(trajectory, size), times)
        return cls._scaled(cameras_at(trajectory.c2w, times), intrinsics, size, chunk_frames, scale)

    @classmethod
    def as_released(
        cls, uncut: Trajectory, size: tuple[int, int], chunk_frames: int, scale: float | None
    ) -> CameraPath:
        """As the reference does: the whole script stretched over the latent frames, the first intrinsics.

        Source: golden/lingbot README, sections 11 and 15.
        """
        num_frames = (uncut.num_frames - 1) // VIDEO_STRIDE * VIDEO_STRIDE + 1
        num_latent = ((num_frames - 1) // VIDEO_STRIDE + 1) // chunk_frames * chunk_frames
        c2w = cameras_at(uncut.c2w[:num_frames], latent_times(num_frames, num_latent))
        first = uncut.intrinsics_for(*size)[:1]
        return cls._scaled(c2w, np.repeat(first, num_latent, axis=0), size, chunk_frames, scale)

    @classmethod
    def _scaled(
        cls,
        c2w: Float64[np.ndarray, "frames 4 4"],
        intrinsics: Float64[np.ndarray, "frames 4"],
        size: tuple[int, int],
        chunk_frames: int,
        scale: float | None,
    ) -> CameraPath:
        path = cls(c2w=c2w, intrinsics=intrinsics, size=size, chunk_frames=chunk_frames, scale=scale or 1.0)
        return path if scale is not None else replace(path, scale=clip_scale(path.framewise))

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens of a latent frame."""
        return self.size[1] // STEP_PX, self.size[0] // STEP_PX

    @cached_property
    def viewpoints(self) -> Viewpoints:
        """Where the latent frames look from, and the viewing ray of every token."""
        return Viewpoints(
            c2w=self.c2w,
            intrinsics=self.intrinsics,
            image_size=self.size,
            grid=self.grid,
            chunk_frames=self.chunk_frames,
        )

    @cached_property
    def framewise(self) -> Float64[np.ndarray, "frames 4 4"]:
        """Each camera in the axes of the frame before; translations in trajectory units."""
        return framewise_cameras(self.c2w)


def framewise_cameras(c2w: Float64[np.ndarray, "frames 4 4"]) -> Float64[np.ndarray, "frames 4 4"]:
    """Each latent frame's camera in the axes of the frame before; the first one is the identity."""
    inverse = np.linalg.inv(c2w[:-1])
    first = np.eye(4)[None]
    return np.concatenate((first, inverse @ c2w[1:]))


def clip_scale(framewise: Float64[np.ndarray, "frames 4 4"]) -> float:
    """The reference's unit of length: the longest step of the whole clip; 1 if the camera only turns."""
    longest = float(np.linalg.norm(framewise[:, :3, 3], axis=-1).max())
    return longest if longest > 0 else 1.0
