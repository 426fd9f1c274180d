"""Where the camera is and what it looks at, for every latent frame of a rollout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Int

from core.errors import InputError


@dataclass(frozen=True, eq=False, kw_only=True)
class Viewpoints:
    """Cameras of all latent frames. Compared by identity, so that derived tables can be cached on it.

    Attributes:
        c2w: Camera-to-world matrices, OpenCV axes (+X right, +Y down, +Z forward), in trajectory units.
        intrinsics: fx, fy, cx, cy in pixels of `image_size`.
        image_size: Width and height in pixels.
        grid: Rows and columns of tokens of a latent frame.
        chunk_frames: Latent frames denoised together.
    """

    c2w: Float64[np.ndarray, "frames 4 4"]
    intrinsics: Float64[np.ndarray, "frames 4"]
    image_size: tuple[int, int]
    grid: tuple[int, int]
    chunk_frames: int = 3

    def __post_init__(self) -> None:
        if min(*self.image_size, *self.grid, self.chunk_frames) < 1:
            raise InputError(
                f"image size {self.image_size}, grid {self.grid} and chunk_frames {self.chunk_frames} "
                "must be positive",
                where="viewpoints",
            )
        if self.num_frames == 0 or self.num_frames % self.chunk_frames:
            raise InputError(
                f"{self.num_frames} latent frames do not fill whole chunks of {self.chunk_frames}",
                where="viewpoints",
                hint="cut or pad the trajectory to whole chunks",
            )
        if not (np.isfinite(self.c2w).all() and np.isfinite(self.intrinsics).all()):
            raise InputError("camera matrices and intrinsics must be finite", where="viewpoints")
        if (self.intrinsics[:, :2] <= 0).any():
            raise InputError("focal lengths must be positive", where="viewpoints.intrinsics")

    @property
    def num_frames(self) -> int:
        """Latent frames of the rollout."""
        return len(self.c2w)

    @property
    def num_chunks(self) -> int:
        """Chunks of the rollout."""
        return self.num_frames // self.chunk_frames

    @property
    def tokens_per_frame(self) -> int:
        """Tokens of a latent frame."""
        return self.grid[0] * self.grid[1]

    @property
    def tokens_per_chunk(self) -> int:
        """Tokens of a chunk."""
        return self.tokens_per_frame * self.chunk_frames

    @property
    def positions(self) -> Float64[np.ndarray, "frames 3"]:
        """Camera centres in the world."""
        return self.c2w[:, :3, 3]

    @property
    def forwards(self) -> Float64[np.ndarray, "frames 3"]:
        """Optical axes in the world."""
        return self.c2w[:, :3, 2]

    @cached_property
    def token_pitch_rad(self) -> float:
        """Smallest angle between the rays of neighbouring tokens at the principal point, over all frames."""
        (width, height), (rows, cols) = self.image_size, self.grid
        steps = np.stack([width / cols / self.intrinsics[:, 0], height / rows / self.intrinsics[:, 1]])
        return float(np.arctan(steps).min())

    def frames_of(self, chunk: int) -> range:
        """Latent frames of a chunk."""
        return range(chunk * self.chunk_frames, (chunk + 1) * self.chunk_frames)

    def rays(
        self, frames: Sequence[int] | Int[np.ndarray, " n"]
    ) -> tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, "n tokens 3"]]:
        """Camera centres, and unit directions through the patch centres, of the given latent frames."""
        index = np.asarray(frames, dtype=np.int64)
        (width, height), (rows, cols) = self.image_size, self.grid
        x_px = (np.arange(cols) + 0.5) * (width / cols)
        y_px = (np.arange(rows) + 0.5) * (height / rows)
        fx, fy, cx, cy = self.intrinsics[index].T[:, :, None, None]
        in_camera = np.ones((len(index), rows, cols, 3))
        in_camera[..., 0] = (x_px[None, None, :] - cx) / fx
        in_camera[..., 1] = (y_px[None, :, None] - cy) / fy
        in_camera /= np.linalg.norm(in_camera, axis=-1, keepdims=True)
        flat = in_camera.reshape(len(index), rows * cols, 3)
        return self.positions[index], np.matmul(flat, self.c2w[index, :3, :3].swapaxes(1, 2))
