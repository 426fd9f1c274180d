"""Frames of the video as small pictures inside the file."""

from __future__ import annotations

import base64
import io
from typing import Final

import numpy as np
from jaxtyping import UInt8
from PIL import Image

PICTURE_PX: Final = 400
"""Width of a picture at most."""

MASK_PX: Final = 300
QUALITY: Final = 80
DROPPED_LIGHT: Final = 0.25
"""Of its brightness is what a token keeps that no layer stores."""

TINT: Final = (255, 176, 0)
TINT_SHARE: Final = 0.22
"""Of a token that every layer stores."""


def data_uri(frame: UInt8[np.ndarray, "height width 3"], width: int = PICTURE_PX) -> str:
    """A frame as a JPEG inside a URI."""
    image = Image.fromarray(frame)
    if image.width > width:
        size = (width, max(1, round(image.height * width / image.width)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def masked(
    frame: UInt8[np.ndarray, "height width 3"], kept: UInt8[np.ndarray, "rows cols"]
) -> UInt8[np.ndarray, "height width 3"]:
    """A frame with dropped tokens dark, and kept ones tinted by the share of layers that store them."""
    height, width = frame.shape[:2]
    rows = np.arange(height) * kept.shape[0] // height
    cols = np.arange(width) * kept.shape[1] // width
    share = (kept[rows][:, cols] / 255.0)[..., None]
    light = frame * (DROPPED_LIGHT + (1 - DROPPED_LIGHT) * share)
    tinted = light + (np.array(TINT) - light) * (TINT_SHARE * share)
    whole: UInt8[np.ndarray, "height width 3"] = tinted.round().astype(np.uint8)
    return whole
