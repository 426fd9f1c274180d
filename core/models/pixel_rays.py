"""Viewing rays of pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def pixel_directions(
    intrinsics: Float[Tensor, "*batch 4"], size: tuple[int, int], step: int = 1
) -> Float[Tensor, "*batch rows cols 3"]:
    """Unit viewing directions in camera axes through the centres of step x step pixel squares.

    Args:
        intrinsics: fx, fy, cx, cy in pixels of `size`.
        size: Width and height in pixels.
        step: Side of the squares in pixels.
    """
    width, height = size
    dtype = intrinsics.dtype
    xs = torch.arange(width // step, device=intrinsics.device, dtype=dtype) * step + step / 2
    ys = torch.arange(height // step, device=intrinsics.device, dtype=dtype) * step + step / 2
    fx, fy, cx, cy = (v[..., None, None] for v in intrinsics.unbind(-1))
    x, y = torch.broadcast_tensors((xs[None, :] - cx) / fx, (ys[:, None] - cy) / fy)
    return F.normalize(torch.stack((x, y, torch.ones_like(x)), dim=-1), dim=-1)
