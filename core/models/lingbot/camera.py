"""What LingBot-World-Fast is told about its camera.

Source: golden/lingbot README, section 11. The reference calls the features Plucker rays; they hold the ray's
origin and direction, and the network was trained so.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from core.models.lingbot.path import CameraPath
from core.models.pixel_rays import pixel_directions
from core.models.wan.network import fold_patches

CELL_PX = 8
"""Pixels that a latent cell spans, in rows and in columns."""


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


def path_features(
    path: CameraPath, frames: range, device: torch.device
) -> Float[Tensor, "1 frames tokens 1536"]:
    """Camera features of every token of some latent frames of a path, in float32."""
    span = slice(frames.start, frames.stop)
    framewise = path.framewise[span].copy()
    framewise[:, :3, 3] /= path.scale
    cameras, intrinsics = (
        torch.from_numpy(values).to(device, torch.float32) for values in (framewise, path.intrinsics[span])
    )
    return camera_features(cameras, intrinsics, path.size)
