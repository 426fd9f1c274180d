"""A Matrix-Game rollout as far as it can be planned: no picture, checkpoint or torch is needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Final

from core.config import GenerateConfig
from core.elements import NUMBER_FORMATS, Element
from core.errors import InputError, ModelFilesError
from core.memory.footprint import Footprint
from core.memory.plan import MemoryPlan
from core.memory.positions import PositionMode
from core.memory.viewpoints import Viewpoints
from core.models.foreign import refuse_foreign
from core.models.matrix_game.action_notes import action_notes
from core.models.matrix_game.actions import ActionTracks, action_tracks
from core.models.matrix_game.config import DEFAULT_VARIANT, Variant, find_variant
from core.models.matrix_game.crop import crop_note
from core.models.matrix_game.files import find_files
from core.models.matrix_game.needs import Needs
from core.models.matrix_game.sizes import MatrixGameSizes, released_sizes
from core.models.matrix_game.viewpoints import dead_reckoned_viewpoints
from core.models.outline import WindowDefaults
from core.models.wan.given_shape import given_shape
from core.models.wan.size import STEP_PX, parse_size
from core.placement import Parts, Turns
from core.script import Script
from trajectories import Gains, Trajectory
from trajectories.schema import DEFAULT_FOV_DEG

SIZE: Final = (640, 352)
SINK_FRAMES: Final = 3
RETRIEVE_CHUNKS: Final = MappingProxyType({"pose": 3.0, "coverage": 3.0, "rays": 3.0})

_FOREIGN: Final = {
    "prompt": "takes no text",
    "translation_scale": "is steered by actions, not by cameras",
    "conditioning": "has one way of conditioning",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class MatrixGameOutline:
    """See `core.models.outline.Outline`.

    Attributes:
        config: The settings.
        variant: Which of the networks.
        trajectory: What is generated.
        tracks: Its actions.
        viewpoints: Cameras of the latent frames, by dead reckoning.
        given_frames: First video frames, which a prefix video gives.
        sizes: Of the checkpoint.
        notes: What the user should know before it starts.
    """

    config: GenerateConfig
    variant: Variant
    trajectory: Trajectory
    tracks: ActionTracks
    viewpoints: Viewpoints
    given_frames: int
    sizes: MatrixGameSizes
    notes: tuple[str, ...] = ()

    @property
    def frame_size(self) -> tuple[int, int]:
        """Width and height of a video frame in pixels."""
        return self.viewpoints.image_size

    @property
    def passes(self) -> int:
        """Passes of the network that denoise a chunk."""
        return len(self.variant.denoising_steps)

    @property
    def trained_frames(self) -> int:
        """Latent frames of the native window."""
        return self.variant.window_frames

    @cached_property
    def defaults(self) -> WindowDefaults:
        """The native window, the sink, and nine frames' worth of retrieved tokens."""
        return WindowDefaults(
            SINK_FRAMES,
            self.variant.window_frames - self.viewpoints.chunk_frames,
            RETRIEVE_CHUNKS,
            strategy="pose",
            # RoPE was trained on the native window's offsets alone. Source: arXiv:2608.07408.
            positions=PositionMode.SLOT,
        )

    @cached_property
    def ways_out(self) -> tuple[str, ...]:
        """Flags that would take less memory."""
        return tuple(_ways_out(self.config))

    @property
    def fov_deg(self) -> float:
        """Field of view that the memory assumes."""
        return _fov_deg(self.config)

    def footprint(self, dtype: Element) -> Footprint:
        """Shapes and bytes of keys, values and weights."""
        net = self.sizes.network
        return Footprint(
            num_layers=net.num_layers,
            num_heads=net.num_heads,
            head_dim=net.head_dim,
            grid=self.viewpoints.grid,
            chunk_frames=self.viewpoints.chunk_frames,
            kv_element_bytes=dtype.itemsize,
            parameter_bytes=net.num_parameters * dtype.itemsize,
        )

    def options(self, plan: MemoryPlan, dtype: Element) -> Iterator[tuple[Turns, Parts]]:
        """What can be turned when memory is short, and what each turn takes."""
        needs = Needs(
            network=self.sizes.network,
            vae=self.sizes.vae,
            clip=self.sizes.clip,
            size=self.frame_size,
            decode_dtype=NUMBER_FORMATS[self.config.decode_dtype],
            action_frames=self.variant.window_frames,
            encodes=self.given_frames > 0,
        )
        return needs.options(plan, dtype)


def check_settings(config: GenerateConfig) -> None:
    """Refuse settings that the model has no use for.

    Raises:
        InputError: There is one.
    """
    refuse_foreign(config, _FOREIGN, hint="leave it out, or use --model lingbot")
    if config.weights not in ("auto", "resident"):
        problem = "matrix-game's weights take 3.2 GB and always stay on the device"
        raise InputError(problem, where="--weights", hint="leave it out")


def draw(config: GenerateConfig, script: Script) -> MatrixGameOutline:
    """The outline with the released sizes; its notes are those on actions.

    Raises:
        InputError: No such video can be made.
    """
    variant = find_variant(config.variant or DEFAULT_VARIANT)
    width, height = SIZE if config.size is None else parse_size(config.size, where="--size")
    tracks = action_tracks(script.trajectory, variant.name, gains=_gains(config, script))
    return MatrixGameOutline(
        config=config,
        variant=variant,
        trajectory=script.trajectory,
        tracks=tracks,
        viewpoints=dead_reckoned_viewpoints(
            tracks,
            grid=(height // STEP_PX, width // STEP_PX),
            size=(width, height),
            chunk_frames=script.chunk_frames,
            fov_deg=_fov_deg(config),
        ),
        given_frames=script.given_frames,
        sizes=released_sizes(variant),
        notes=action_notes(script.trajectory, tracks),
    )


def open_outline(config: GenerateConfig, script: Script) -> MatrixGameOutline:
    """Draw a rollout; see `core.models.outline.OpenOutline`."""
    check_settings(config)
    shape = given_shape(config)
    drawn = draw(config, script)
    sizes, notes = found_sizes(config, drawn.variant)
    cut_off = None if shape is None else crop_note(*shape, drawn.frame_size)
    return replace(drawn, sizes=sizes, notes=(*notes, *([cut_off] if cut_off else ()), *drawn.notes))


def found_sizes(config: GenerateConfig, variant: Variant) -> tuple[MatrixGameSizes, tuple[str, ...]]:
    """Sizes of the checkpoint that a run would use, from its headers, and what was taken for granted.

    Raises:
        ModelFilesError: The checkpoint that the settings name is not what it should be.
    """
    try:
        if config.checkpoint is None:
            find_files(variant.name)
        from core.models.matrix_game.parts import open_parts  # needs torch, which most plans can do without

        return open_parts(variant.name, config.checkpoint).sizes, ()
    except ModelFilesError as error:
        if config.checkpoint is not None:
            raise
        return released_sizes(variant), (f"sizes of the released checkpoint are assumed: {error.problem}",)


def _fov_deg(config: GenerateConfig) -> float:
    return DEFAULT_FOV_DEG if config.fov_deg is None else config.fov_deg


def _gains(config: GenerateConfig, script: Script) -> Gains:
    """How far actions move the model: as it was trained, as far as that is known, and as the user says."""
    gains = Gains(units_per_key_frame=script.trajectory.gains.units_per_key_frame)
    if config.mouse_deg is not None:
        gains = replace(gains, deg_per_mouse_unit=config.mouse_deg)
    if config.key_units is not None:
        gains = replace(gains, units_per_key_frame=config.key_units)
    return gains


def _ways_out(config: GenerateConfig) -> Iterator[str]:
    """What is still left to turn, for who asks for less memory than there can be."""
    if config.bank == "device":
        yield "--bank host"
    if config.decode_dtype == "float32":
        yield "--decode-dtype float16"
    if config.memory == "worldkv":
        yield "--retrieve with less"
    yield "a smaller --size"
