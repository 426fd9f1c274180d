"""The first picture, or the frames of a clip, as Matrix-Game takes them."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from core.models.matrix_game.crop import kept_part


def cropped(
    frames: UInt8[np.ndarray, "frames rows cols 3"], size: tuple[int, int]
) -> Float[Tensor, "frames 3 height width"]:
    """Pictures in -1..1, cropped around the middle to the shape of `size` (width, height) and scaled.

    Source: golden/matrix_game README, section 11.
    """
    width, height = size
    rows, cols = frames.shape[1], frames.shape[2]
    keep_rows, keep_cols = kept_part(rows, cols, size)
    top, left = (rows - keep_rows) // 2, (cols - keep_cols) // 2
    kept = torch.from_numpy(frames[:, top : top + keep_rows, left : left + keep_cols].copy())
    pictures = kept.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
    if pictures.shape[2:] == (height, width):
        return pictures
    scaled = F.interpolate(pictures, (height, width), mode="bicubic", align_corners=False, antialias=True)
    return scaled.clamp_(-1.0, 1.0)
