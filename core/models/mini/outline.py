"""A rollout of the embedded model as far as it can be planned; needs no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Final

from core.config import GenerateConfig
from core.elements import Element
from core.errors import InputError
from core.memory.footprint import Footprint
from core.memory.plan import MemoryPlan
from core.memory.viewpoints import Viewpoints
from core.models.foreign import refuse_foreign
from core.models.intrinsics import cropped_intrinsics
from core.models.mini.config import CHUNK_FRAMES, MiniConfig
from core.models.mini.decoder_bytes import decoder_bytes
from core.models.mini.trips import MAX_TIME_FRAMES
from core.models.outline import WindowDefaults
from core.placement import Parts, Turns
from core.script import Script
from trajectories import Trajectory

DEFAULTS: Final = WindowDefaults(
    sink_frames=CHUNK_FRAMES,
    recent_frames=2 * CHUNK_FRAMES,
    # One chunk's worth of rays is enough to be consistent, three recall a given world best (model card).
    retrieve_chunks={"rays": 3.0, "pose": 3.0, "coverage": 3.0},
    prune="view",  # 0.3 dB better than by keys, which are worse than chance here (docs/bench)
)
DENOISING_LEVELS: Final = (1.0, 0.6, 0.3, 0.1)
"""Ending at a lower level than a distilled model would: what is remembered comes back cleaner."""

_FOREIGN: Final = {
    "checkpoint": "has its weights in the package",
    "size": "knows one size",
    "translation_scale": "was trained in trajectory units",
    "conditioning": "has one way of conditioning",
    "variant": "has no variants",
    "mouse_deg": "is steered by cameras",
    "key_units": "is steered by cameras",
    "fov_deg": "takes the trajectory's field of view",
    "decode_dtype": "decodes in float32",
}


@dataclass(frozen=True, eq=False)
class MiniOutline:
    """See `core.models.outline.Outline`.

    Attributes:
        trajectory: What is generated.
        mini: Sizes of the model.
        notes: What the user should know before it starts.
    """

    defaults: ClassVar[WindowDefaults] = DEFAULTS
    trained_frames: ClassVar[int] = MAX_TIME_FRAMES
    passes: ClassVar[int] = len(DENOISING_LEVELS)
    ways_out: ClassVar[tuple[str, ...]] = ("--retrieve with less",)

    trajectory: Trajectory
    mini: MiniConfig = MiniConfig()  # noqa: RUF009 - frozen
    notes: tuple[str, ...] = ()

    @cached_property
    def viewpoints(self) -> Viewpoints:
        """Cameras of the latent frames."""
        return mini_viewpoints(self.mini, self.trajectory)

    @property
    def frame_size(self) -> tuple[int, int]:
        """Width and height of a video frame in pixels."""
        return self.mini.width_px, self.mini.height_px

    def footprint(self, dtype: Element) -> Footprint:
        """Shapes and bytes of keys, values and weights."""
        return mini_footprint(self.mini, dtype)

    def options(self, plan: MemoryPlan, dtype: Element) -> Iterator[tuple[Turns, Parts]]:
        """All but the bank is too small to be worth a turn."""
        weights, frames = self.footprint(dtype).parameter_bytes, plan.layout.num_frames
        device = {"weights": weights, "decoder": decoder_bytes(), "cameras": frames * CAMERA_BYTES}
        yield Turns(), Parts(device=device)


CAMERA_BYTES = (16 + 4) * 4
"""Of a frame's c2w and intrinsics in float32."""


def mini_footprint(config: MiniConfig, dtype: Element) -> Footprint:
    """Shapes and bytes of keys, values and weights, without weights."""
    net = config.network
    return Footprint(
        num_layers=net.num_layers,
        num_heads=net.num_heads,
        head_dim=net.head_dim,
        grid=config.grid,
        chunk_frames=CHUNK_FRAMES,
        kv_element_bytes=dtype.itemsize,
        parameter_bytes=net.num_parameters * dtype.itemsize,
    )


def mini_viewpoints(config: MiniConfig, trajectory: Trajectory) -> Viewpoints:
    """Cameras of the latent frames: one video frame each."""
    size = (config.width_px, config.height_px)
    return Viewpoints(
        c2w=trajectory.c2w,
        intrinsics=cropped_intrinsics(trajectory, size),
        image_size=size,
        grid=config.grid,
        chunk_frames=CHUNK_FRAMES,
    )


def check_settings(config: GenerateConfig) -> None:
    """Refuse settings that the embedded model has no use for.

    Raises:
        InputError: There is one.
    """
    refuse_foreign(config, {"prompt": "takes no text"}, hint="pick a world with --world-seed")
    refuse_foreign(config, _FOREIGN, hint="leave it out, or use another --model")
    if config.weights not in ("auto", "resident"):
        raise InputError("mini's weights are too small to place", where="--weights", hint="leave it out")


def check_beginning(config: GenerateConfig, trajectory: Trajectory) -> None:
    """Refuse a beginning that does not fit the trajectory, or two of them.

    Raises:
        InputError: There is one.
    """
    total = trajectory.num_frames // CHUNK_FRAMES
    if isinstance(config.prefix, int) and not 0 < config.prefix < total:
        raise InputError(
            f"a prefix of {config.prefix} chunks does not fit a trajectory of {total}",
            where="--prefix",
            hint=f"give 1 to {total - 1} chunks",
        )
    if config.image is not None and config.prefix is not None:
        raise InputError(
            "a prefix brings its own first picture", where="--image", hint="leave out one of the two"
        )


def open_outline(config: GenerateConfig, script: Script) -> MiniOutline:
    """Draw a rollout of the embedded model; see `core.models.outline.OpenOutline`."""
    check_settings(config)
    check_beginning(config, script.trajectory)
    return MiniOutline(script.trajectory)
