"""The pictures that a rollout of a large model starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from core.config import GenerateConfig
from core.errors import InputError
from core.models.wan.given_shape import check_given
from core.video.reader import read_image, read_video


@dataclass(frozen=True, eq=False)
class GivenPictures:
    """A first picture, or a clip whose first frame it is.

    Attributes:
        pictures: Frames from the first one on.
        inputs: The files that they come from.
    """

    pictures: UInt8[np.ndarray, "frames rows cols 3"]
    inputs: Mapping[str, Path]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.pictures.shape[1], self.pictures.shape[2]

    def resized(
        self, start: int, stop: int, size: tuple[int, int]
    ) -> Float[Tensor, "1 3 frames height width"]:
        """Frames `start` to `stop` (exclusive) as the codec takes them."""
        return resize(self.pictures[start:stop], size).transpose(0, 1)[None]


def given_pictures(config: GenerateConfig, num_frames: int) -> GivenPictures:
    """The pictures that the settings name.

    Args:
        config: The settings.
        num_frames: Frames that a prefix video gives.

    Raises:
        InputError: There is no picture, or it cannot be read.
    """
    check_given(config)
    if not isinstance(config.prefix, Path):
        if config.image is None:
            raise InputError("the video needs a first picture", where="--image", hint="add --image first.png")
        return GivenPictures(read_image(config.image)[None], {"image": config.image})
    frames = read_video(config.prefix, max_frames=num_frames)
    if len(frames) < num_frames:
        raise InputError(
            f"the prefix video breaks off after {len(frames)} frames",
            where=str(config.prefix),
            hint="is it whole?",
        )
    inputs = {"prefix": config.prefix}
    if config.prefix_traj is not None and Path(config.prefix_traj).is_file():
        inputs["prefix_traj"] = Path(config.prefix_traj)
    return GivenPictures(frames, inputs)


def resize(
    frames: UInt8[np.ndarray, "frames rows cols 3"], size: tuple[int, int]
) -> Float[Tensor, "frames 3 height width"]:
    """Pictures in about -1..1, stretched to `size` (width, height), as LingBot takes them.

    Bicubic without antialiasing, and what overshoots is not clamped: the model was trained so.
    Source: golden/lingbot README, section 12.
    """
    width, height = size
    # In place: a photograph of 100 megapixels takes 1.2 GB in float32, once.
    pictures = torch.from_numpy(frames.copy()).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
    if pictures.shape[2:] == (height, width):
        return pictures
    return F.interpolate(pictures, (height, width), mode="bicubic", align_corners=False)
