"""Prepares a rollout of the embedded model from the user's settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from core.config import GenerateConfig
from core.errors import InputError
from core.hardware import Held
from core.models.mini.config import CHUNK_FRAMES
from core.models.mini.decoder_bytes import decoder_bytes
from core.models.mini.model import WEIGHTS, MiniModel, read_config
from core.models.mini.outline import MiniOutline, check_beginning, check_settings
from core.models.mini.world import World
from core.models.outline import Outlined
from core.models.session import LoadedModel, OnLoad
from core.models.weight_cache import WeightCache
from core.placement import Turns
from core.script import Script
from core.video.reader import read_image, read_video

GivenPictures = Callable[[int, int], Float[Tensor, "frames 3 height width"]]


class MiniSession(Outlined):
    """See `core.models.session.Session`."""

    default_scale = 8
    logged: Mapping[str, object] = MappingProxyType({})

    def __init__(self, config: GenerateConfig, script: Script) -> None:
        check_settings(config)
        outline = MiniOutline(script.trajectory)
        super().__init__(outline)
        self._mini = outline.mini
        self.inputs: Mapping[str, Path] = {}
        self._given_chunks = script.given_frames // CHUNK_FRAMES
        pictures: GivenPictures | None = None
        if isinstance(config.prefix, Path):
            pictures = self._pictures_of_video(config, config.prefix, script.given_frames)
        elif config.prefix is not None:
            self._given_chunks = config.prefix
        self.given_frames = self._given_chunks * CHUNK_FRAMES
        check_beginning(config, script.trajectory)
        if config.image is not None:
            pictures = self._picture_of_file(config.image)
        self._world_seed = config.world_seed
        self.notes: tuple[str, ...] = ()
        if pictures is not None and config.world_seed:
            self.notes = ("the first picture is given: world_seed has no effect",)
        self._pictures = pictures or self.world().pictures

    def world(self) -> World:
        """The true world around the trajectory."""
        return World.around(self.trajectory, self._world_seed, self._mini)

    def check_files(self) -> None:
        """Look at the packaged weights."""
        read_config(WEIGHTS)

    def load(
        self,
        device: torch.device,
        dtype: torch.dtype,
        turns: Turns,
        on_load: OnLoad | None = None,
        weights: WeightCache | None = None,
    ) -> LoadedModel:
        """Load the packaged weights; the true or given first picture starts the rollout."""
        del turns, on_load  # nothing to turn, and loaded at once
        model = (weights or WeightCache()).get(
            ("mini", WEIGHTS, dtype),
            device,
            lambda: MiniModel.load(path=WEIGHTS, device=device, dtype=dtype),
            lambda loaded: Held(device=loaded.footprint.parameter_bytes + decoder_bytes()),
        )

        def given(chunk: int) -> Tensor | None:
            if chunk >= self._given_chunks:
                return None
            pictures = self._pictures(chunk * CHUNK_FRAMES, (chunk + 1) * CHUNK_FRAMES)
            return model.encode(pictures).transpose(0, 1)[None]

        return LoadedModel(
            controls=model.controls(self.trajectory, self._pictures(0, 1)),
            decoder=model.decoder(),
            levels=model.levels,
            latent_shape=model.latent_shape,
            given=given,
            parameter_bytes=model.footprint.parameter_bytes + decoder_bytes(),
        )

    def _pictures_of_video(self, config: GenerateConfig, path: Path, num_frames: int) -> GivenPictures:
        frames = read_video(path, max_frames=num_frames)
        if len(frames) < num_frames:
            raise InputError(
                f"the prefix video breaks off after {len(frames)} frames",
                where=str(path),
                hint="is it whole?",
            )
        self.inputs = {"prefix": path}
        if config.prefix_traj is not None and Path(config.prefix_traj).is_file():
            self.inputs = {**self.inputs, "prefix_traj": Path(config.prefix_traj)}
        return lambda start, stop: fit_pictures(frames[start:stop], self.frame_size)

    def _picture_of_file(self, path: Path) -> GivenPictures:
        picture = fit_pictures(read_image(path)[None], self.frame_size)
        self.inputs = {"image": path}
        return lambda start, stop: picture[start:stop]


def fit_pictures(
    frames: UInt8[np.ndarray, "frames rows cols 3"], size: tuple[int, int]
) -> Float[Tensor, "frames 3 height width"]:
    """Pictures cropped around the middle to the shape of `size` (width, height) and scaled; colours 0..1."""
    width, height = size
    rows, cols = frames.shape[1:3]
    scale = max(width / cols, height / rows)
    keep_rows, keep_cols = min(rows, round(height / scale)), min(cols, round(width / scale))
    top, left = (rows - keep_rows) // 2, (cols - keep_cols) // 2
    cropped = torch.from_numpy(frames[:, top : top + keep_rows, left : left + keep_cols].copy())
    pictures = cropped.permute(0, 3, 1, 2).float() / 255
    return F.interpolate(pictures, (height, width), mode="bilinear", antialias=True).clamp(0.0, 1.0)


def open_session(config: GenerateConfig, script: Script) -> MiniSession:
    """Prepare a rollout of the embedded model."""
    return MiniSession(config, script)
