"""What the embedded model is told about its cameras and its first picture."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from core.models.mini.config import CELL_PX, LATENT_CHANNELS
from core.models.pixel_rays import pixel_directions
from core.models.wan.network import fold_patches

DIRECTION_OCTAVES = (1.0, 2.0, 4.0)  # times pi
MOMENT_OCTAVES = (0.25, 0.5)  # times pi per world unit


def ray_features(
    c2w: Float[Tensor, "batch frames 4 4"],
    intrinsics: Float[Tensor, "batch frames 4"],
    size: tuple[int, int],
) -> Float[Tensor, "batch frames tokens features"]:
    """Viewing rays of every token's four latent cells, in the axes of the rollout's first camera.

    Per cell: direction (3), moment (3), origin (3), Fourier features of direction (18) and moment (12).
    Absolute rays, not framewise ones, are what lets attention find a place again by where it looks from.

    Args:
        c2w: Camera-to-world relative to the first frame of the rollout.
        intrinsics: fx, fy, cx, cy in pixels of `size`.
        size: Width and height of the picture in pixels.
    """
    camera = pixel_directions(intrinsics, size, CELL_PX)
    direction = torch.einsum("bfij,bfyxj->bfyxi", c2w[..., :3, :3], camera)
    origin = c2w[..., None, None, :3, 3].expand_as(direction)
    moment = torch.linalg.cross(origin, direction)
    parts = [direction, moment, origin]
    for values, octaves in ((direction, DIRECTION_OCTAVES), (moment, MOMENT_OCTAVES)):
        for octave in octaves:
            parts += [torch.sin(values * (math.pi * octave)), torch.cos(values * (math.pi * octave))]
    return fold_patches(torch.cat(parts, dim=-1).permute(0, 4, 1, 2, 3))


def image_condition(
    image_latent: Float[Tensor, "batch channels h w"] | None, frames: range, shape: tuple[int, int, int]
) -> Float[Tensor, "batch condition frames h w"]:
    """Mask and image latents of some frames: the picture at frame 0 of the rollout, zeros elsewhere.

    Args:
        image_latent: Latent of the first picture, or None to give no picture.
        frames: Latent frame numbers of the rollout.
        shape: Batch size, rows and columns of latent cells.
    """
    batch, h, w = shape
    like = image_latent if image_latent is not None else torch.zeros(())
    condition = torch.zeros(
        batch, 1 + LATENT_CHANNELS, len(frames), h, w, dtype=like.dtype, device=like.device
    )
    if image_latent is not None and 0 in frames:
        at = frames.index(0)
        condition[:, 0, at] = 1.0
        condition[:, 1:, at] = image_latent
    return condition
