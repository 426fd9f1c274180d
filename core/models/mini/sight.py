"""What a camera truly sees in one of the embedded model's rooms, walls and pillars in between considered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from core.memory.viewpoints import Viewpoints
from core.models.mini.rooms import Rooms

_NEARER = 0.98
"""Share of a point's distance at which what is hit in between hides it; with `_SLACK` units for rounding."""
_SLACK = 0.02


@dataclass(frozen=True, eq=False)
class RoomShape:
    """A box with two round pillars, in the axes of the first camera.

    Attributes:
        low: Smallest x, y, z.
        high: Largest x, y, z.
        pillars: Centre x, centre z and radius of each.
    """

    low: Float64[np.ndarray, " 3"]
    high: Float64[np.ndarray, " 3"]
    pillars: Float64[np.ndarray, "pillars 3"]

    @classmethod
    def of(cls, rooms: Rooms) -> RoomShape:
        """The first of some rooms."""
        return cls(*(t[0].double().cpu().numpy() for t in (rooms.low, rooms.high, rooms.pillars)))

    def distances(
        self, origins: Float64[np.ndarray, "*rays 3"], directions: Float64[np.ndarray, "*rays 3"]
    ) -> Float64[np.ndarray, "*rays"]:
        """Along unit rays to the first surface."""
        safe = np.where(np.abs(directions) < 1e-9, 1e-9, directions)
        nearest = ((np.where(safe > 0, self.high, self.low) - origins) / safe).min(axis=-1)
        for x, z, radius in self.pillars:
            offset, flat = origins[..., ::2] - (x, z), directions[..., ::2]
            a, b = np.square(flat).sum(-1).clip(1e-12), (offset * flat).sum(-1)
            inside = b * b - a * (np.square(offset).sum(-1) - radius**2)
            at = (-b - np.sqrt(inside.clip(0))) / a
            nearest = np.where((inside > 0) & (at > 1e-3) & (at < nearest) & (radius > 0), at, nearest)
        found: Float64[np.ndarray, "*rays"] = nearest
        return found


@dataclass(frozen=True, eq=False)
class Sight:
    """A rollout's cameras in a room.

    Attributes:
        views: Cameras in the room's axes; their grid says at which points a picture is looked at.
        room: The room.
    """

    views: Viewpoints
    room: RoomShape

    def surface(self, frames: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, "points 3"]:
        """What the middles of the grid's cells show in some frames, frame by frame."""
        origins, rays = self.views.rays(frames)
        origins = np.broadcast_to(origins[:, None], rays.shape)
        points = origins + self.room.distances(origins, rays)[..., None] * rays
        flat: Float64[np.ndarray, "points 3"] = points.reshape(-1, 3)
        return flat

    def seen(
        self, points: Float64[np.ndarray, "points 3"], frames: Int64[np.ndarray, " n"]
    ) -> Int64[np.ndarray, "n points"]:
        """Cell that shows each point in each frame, -1 where it is out of view or hidden."""
        views, (rows, cols), (width, height) = self.views, self.views.grid, self.views.image_size
        offsets = points[None] - views.positions[frames][:, None]
        x, y, z = np.moveaxis(np.einsum("fpc,fcd->fpd", offsets, views.c2w[frames, :3, :3]), -1, 0)
        fx, fy, cx, cy = views.intrinsics[frames].T[..., None]
        depth = np.maximum(z, 1e-9)
        col = np.floor((fx * x / depth + cx) / width * cols)
        row = np.floor((fy * y / depth + cy) / height * rows)
        in_view = (z > 0) & (col >= 0) & (col < cols) & (row >= 0) & (row < rows)
        cell = np.where(in_view, row * cols + col, -1).astype(np.int64)
        frame, point = np.nonzero(in_view)  # only there is it worth asking what hides it
        towards = offsets[frame, point]
        length = np.linalg.norm(towards, axis=-1)
        origins = views.positions[frames][frame]
        free = self.room.distances(origins, towards / length.clip(1e-9)[:, None])
        hidden = free <= _NEARER * length - _SLACK
        cell[frame[hidden], point[hidden]] = -1
        return cell
