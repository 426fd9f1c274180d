"""What LingBot-World-Fast is told about its camera.

Source: golden/lingbot README, section 11. The reference calls the features Plucker rays; they hold the ray's
origin and direction, and the network was trained so.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Tensor

from core.models.pixel_rays import pixel_directions
from core.models.wan.network import fold_patches

CELL_PX = 8
"""Pixels that a latent cell spans, in rows and in columns."""


def framewise_cameras(c2w: Float64[np.ndarray, "frames 4 4"]) -> Float64[np.ndarray, "frames 4 4"]:
    """Each latent frame's camera in the axes of the frame before; the first one is the identity."""
    inverse = np.linalg.inv(c2w[:-1])
    first = np.eye(4)[None]
    return np.concatenate((first, inverse @ c2w[1:]))


def clip_scale(framewise: Float64[np.ndarray, "frames 4 4"]) -> float:
    """The reference's unit of length: the longest step of the whole clip; 1 if the camera only turns."""
    longest = float(np.linalg.norm(framewise[:, :3, 3], axis=-1).max())
    return longest if longest > 0 else 1.0


def ray_origin_direction(
    framewise: Float[Tensor, "frames 4 4"], intrinsics: Float[Tensor, "frames 4"], size: tuple[int, int]
) -> Float[Tensor, "frames 6 height width"]:
    """Origin and unit direction of every pixel's ray, in the axes of the frame before.

    Args:
        framewise: From `framewise_cameras`, translations in units of the model.
        intrinsics: fx, fy, cx, cy in pixels of `size`.
        size: Width and height in pixels.
    """
    in_camera = pixel_directions(intrinsics, size)
    direction = torch.einsum("fij,fyxj->fiyx", framewise[:, :3, :3], in_camera)
    origin = framewise[:, :3, 3, None, None].expand_as(direction)
    return torch.cat((origin, direction), dim=1)


def camera_channels(rays: Float[Tensor, "frames 6 height width"]) -> Float[Tensor, "384 frames h w"]:
    """The rays of 8x8 pixels folded into the channels of a latent cell."""
    return F.pixel_unshuffle(rays, CELL_PX).transpose(0, 1)


def camera_features(
    framewise: Float[Tensor, "frames 4 4"], intrinsics: Float[Tensor, "frames 4"], size: tuple[int, int]
) -> Float[Tensor, "1 frames tokens 1536"]:
    """Camera features of every token of some latent frames; see `ray_origin_direction`."""
    return fold_patches(camera_channels(ray_origin_direction(framewise, intrinsics, size))[None])
