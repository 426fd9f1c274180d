"""The true world that the embedded model is asked to keep: one procedural room, known in full."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from core.models.intrinsics import cropped_intrinsics
from core.models.mini.config import MiniConfig
from core.models.mini.raycast import render
from core.models.mini.rooms import Rooms, make_rooms
from trajectories import Trajectory


def relative_cameras(c2w: Float64[np.ndarray, "frames 4 4"]) -> Float64[np.ndarray, "frames 4 4"]:
    """Cameras in the axes of the first one."""
    relative: Float64[np.ndarray, "frames 4 4"] = np.linalg.inv(c2w[0]) @ c2w
    return relative


@dataclass(frozen=True)
class World:
    """A room around a trajectory, seen along it.

    Attributes:
        rooms: A batch of one room.
        c2w: Cameras in the axes of the first one, one a frame.
        intrinsics: fx, fy, cx, cy in pixels of `size`, one a frame.
        size: Width and height in pixels.
    """

    rooms: Rooms
    c2w: Float[Tensor, "frames 4 4"]
    intrinsics: Float[Tensor, "frames 4"]
    size: tuple[int, int]

    @classmethod
    def around(cls, trajectory: Trajectory, seed: int, config: MiniConfig) -> World:
        """Room number `seed`, made large enough for the trajectory's path."""
        c2w = torch.from_numpy(relative_cameras(trajectory.c2w)).float()
        size = (config.width_px, config.height_px)
        rooms = make_rooms(c2w[None, :, :3, 3], torch.Generator().manual_seed(seed))
        return cls(rooms, c2w, torch.from_numpy(cropped_intrinsics(trajectory, size)).float(), size)

    def pictures(self, start: int, stop: int) -> Float[Tensor, "frames 3 height width"]:
        """True pictures of frames `start`..`stop` (exclusive), colours in 0..1."""
        frames = slice(start, stop)
        return render(self.rooms, self.c2w[None, frames], self.intrinsics[None, frames], self.size)[0]
