"""A vectorised raycaster for the procedural rooms: the embedded model's training data, and the truth."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from core.models.mini.rooms import NUM_TILES, TILE_COLS, TILE_ROWS, Rooms
from core.models.pixel_rays import pixel_directions

FAR = 1e4
SOFTEN = 0.15  # weight of the neighbours in a light blur that takes the last staircase off oblique edges


def render(
    rooms: Rooms,
    c2w: Float[Tensor, "worlds frames 4 4"],
    intrinsics: Float[Tensor, "worlds frames 4"],
    size: tuple[int, int],
    *,
    supersample: int = 2,
) -> Float[Tensor, "worlds frames 3 height width"]:
    """Pictures of each world along its path, colours in 0..1.

    Args:
        rooms: The worlds.
        c2w: Camera-to-world matrices, OpenCV axes.
        intrinsics: fx, fy, cx, cy in pixels of `size`.
        size: Width and height in pixels.
        supersample: Rays per pixel side.
    """
    width, height = size[0] * supersample, size[1] * supersample
    camera = pixel_directions(intrinsics * supersample, (width, height))
    directions = torch.einsum("wfij,wfyxj->wfyxi", c2w[..., :3, :3], camera)
    origins = c2w[..., None, None, :3, 3].expand_as(directions)
    worlds, frames = c2w.shape[:2]
    colours = _trace(rooms, origins.reshape(worlds, -1, 3), directions.reshape(worlds, -1, 3))
    pictures = colours.view(worlds, 3, frames, height, width).transpose(1, 2).flatten(0, 1)
    return _soften(F.avg_pool2d(pictures, supersample)).view(worlds, frames, 3, size[1], size[0])


def _soften(pictures: Tensor) -> Tensor:
    row = torch.tensor([SOFTEN, 1 - 2 * SOFTEN, SOFTEN], dtype=pictures.dtype, device=pictures.device)
    kernel = (row[:, None] * row).expand(3, 1, 3, 3)
    return F.conv2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)


def _trace(rooms: Rooms, origins: Tensor, directions: Tensor) -> Tensor:
    """Colours [worlds, 3, rays] of rays [worlds, rays, 3]."""
    low, high = rooms.low[:, None], rooms.high[:, None]
    safe = torch.where(directions.abs() < 1e-6, torch.full_like(directions, 1e-6), directions)
    to_planes = (torch.where(safe > 0, high, low) - origins) / safe
    distance, axis = to_planes.min(-1)
    hit = origins + distance[..., None] * directions
    part = ((hit - low) / (high - low)).clamp(0.0, 1.0)
    positive = torch.gather(safe, -1, axis[..., None])[..., 0] > 0
    is_x, is_y = axis == 0, axis == 1
    # u runs along the wall, v from the ceiling down; the floor and ceiling use x and z
    u = torch.where(is_x, part[..., 2], part[..., 0])
    v = torch.where(is_y, part[..., 2], part[..., 1])
    tile = torch.where(is_y, 5 - positive.long(), torch.where(is_x, 0, 2) + (~positive).long())
    for index in range(2):
        near, pu, pv = _pillar(rooms, index, origins, directions)
        closer = near < distance
        distance = torch.where(closer, near, distance)
        u, v = torch.where(closer, pu, u), torch.where(closer, pv, v)
        tile = torch.where(closer, 6 + index, tile)
    return _texture(rooms.atlas, u, v, tile)


def _pillar(rooms: Rooms, index: int, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distance to an upright cylinder (FAR where missed) and its texture coordinates."""
    centre, radius = rooms.pillars[:, index, None, :2], rooms.pillars[:, index, None, 2]
    o, d = origins[..., ::2] - centre, directions[..., ::2]
    a = d.square().sum(-1).clamp(min=1e-9)
    b = (o * d).sum(-1)
    disc = b.square() - a * (o.square().sum(-1) - radius.square())
    t = (-b - disc.clamp(min=0.0).sqrt()) / a
    t = torch.where((disc > 0) & (t > 1e-3) & (radius > 0), t, FAR)
    x, z = (o + t[..., None] * d).unbind(-1)
    y = origins[..., 1] + t * directions[..., 1]
    u = torch.atan2(z, x) / (2 * math.pi) + 0.5
    return t, u, ((y - rooms.low[:, None, 1]) / (rooms.high - rooms.low)[:, None, 1]).clamp(0.0, 1.0)


def _texture(atlas: Tensor, u: Tensor, v: Tensor, tile: Tensor) -> Tensor:
    """Bilinear look-up inside one tile of the atlas."""
    col = (u * TILE_COLS).clamp(0.5, TILE_COLS - 0.5)
    row = (v * TILE_ROWS).clamp(0.5, TILE_ROWS - 0.5) + tile * TILE_ROWS
    grid = torch.stack((col / TILE_COLS * 2 - 1, row / (NUM_TILES * TILE_ROWS) * 2 - 1), dim=-1)
    return F.grid_sample(atlas, grid[:, None], mode="bilinear", align_corners=False)[:, :, 0]
