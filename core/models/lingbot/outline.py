"""A LingBot rollout as far as it can be planned: no picture, prompt, checkpoint or torch is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Final

from core.config import GenerateConfig
from core.elements import NUMBER_FORMATS, Element
from core.errors import ModelFilesError
from core.memory.footprint import Footprint
from core.memory.plan import MemoryPlan
from core.memory.viewpoints import Viewpoints
from core.models.foreign import refuse_foreign
from core.models.lingbot.files import find_files
from core.models.lingbot.needs import Needs
from core.models.lingbot.path import CameraPath
from core.models.lingbot.size import release_size, size_of
from core.models.lingbot.sizes import RELEASED, LingBotSizes
from core.models.outline import WindowDefaults
from core.models.wan.given_shape import given_shape
from core.models.wan.size import parse_size
from core.placement import Parts, Turns
from core.script import Script
from trajectories import Trajectory

PICTURE_SHAPE: Final = (480, 832)
"""Rows and columns of the pictures that the model was released for."""

DENOISING_STEPS: Final = 4

POSITION_ROWS: Final = 1024
"""Latent frames that the reference implementation can number; what lies beyond, nobody has tried."""

LOOK_BACK_FRAMES: Final[Mapping[str, int]] = MappingProxyType({"lingbot": 27, "lingbot-v2": 18})
"""Latent frames that the releases look back: sink 3, retrieved 18, recent and current 6; V2's window.

How far back the models looked in training is not published.
"""

V2_SINK_FRAMES: Final = 6
"""Of the second version's window of 18 frames. Source: golden/lingbot README, section 14, and its release."""

MOST_STRETCH: Final = 0.03
"""Change of a picture's shape that is not worth a word: whole tokens make sizes differ that much."""

_WHOLE_CHUNKS: Final = MappingProxyType({"pose": 3.0, "coverage": 3.0, "rays": 3.0})
_FOREIGN: Final = {
    "variant": "has no variants",
    "mouse_deg": "is steered by cameras",
    "key_units": "is steered by cameras",
    "fov_deg": "takes the trajectory's field of view",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class LingBotOutline:
    """See `core.models.outline.Outline`.

    Attributes:
        config: The settings.
        trajectory: What is generated.
        path: Its cameras, one a latent frame, at the size of the video.
        given_frames: First video frames, which a prefix video gives.
        sizes: Of the checkpoint.
        notes: What the user should know before it starts.
    """

    config: GenerateConfig
    trajectory: Trajectory
    path: CameraPath
    given_frames: int
    sizes: LingBotSizes = RELEASED
    notes: tuple[str, ...] = ()

    @property
    def viewpoints(self) -> Viewpoints:
        """Cameras of the latent frames."""
        return self.path.viewpoints

    @property
    def frame_size(self) -> tuple[int, int]:
        """Width and height of a video frame in pixels."""
        return self.path.size

    @property
    def passes(self) -> int:
        """Passes of the network that denoise a chunk."""
        return DENOISING_STEPS

    @cached_property
    def defaults(self) -> WindowDefaults:
        """The window as it was released, or as the paper has it."""
        if self.config.model == "lingbot-v2":
            recent = self.trained_frames - V2_SINK_FRAMES - self.path.chunk_frames
            return WindowDefaults(V2_SINK_FRAMES, recent, _WHOLE_CHUNKS, strategy="pose")
        # The paper's window: sink 3, nine frames' worth of retrieved tokens, recent 3 beside the current 3.
        return WindowDefaults(3, self.path.chunk_frames, _WHOLE_CHUNKS, strategy="pose")

    @property
    def trained_frames(self) -> int:
        """Latent frames that the model looks back as it was released."""
        return LOOK_BACK_FRAMES[self.config.model]

    @cached_property
    def ways_out(self) -> tuple[str, ...]:
        """Flags that would take less memory."""
        return tuple(_ways_out(self.config))

    def footprint(self, dtype: Element) -> Footprint:
        """Shapes and bytes of keys, values and weights."""
        net = self.sizes.network
        return Footprint(
            num_layers=net.num_layers,
            num_heads=net.num_heads,
            head_dim=net.head_dim,
            grid=self.path.grid,
            chunk_frames=self.path.chunk_frames,
            kv_element_bytes=dtype.itemsize,
            parameter_bytes=net.num_parameters * dtype.itemsize,
        )

    def options(self, plan: MemoryPlan, dtype: Element) -> Iterator[tuple[Turns, Parts]]:
        """What can be turned when memory is short, and what each turn takes."""
        needs = Needs(
            network=self.sizes.network,
            vae=self.sizes.vae,
            size=self.frame_size,
            decode_dtype=NUMBER_FORMATS[self.config.decode_dtype],
            text=self.sizes.text,
            encodes=self.given_frames > 0,
        )
        return needs.options(plan, dtype, weights=self.config.weights)


def check_settings(config: GenerateConfig) -> None:
    """Refuse settings that the model has no use for.

    Raises:
        InputError: There is one.
    """
    refuse_foreign(config, _FOREIGN, hint="leave it out, or use --model matrix-game")


def draw(config: GenerateConfig, script: Script, picture_shape: tuple[int, int]) -> LingBotOutline:
    """The outline for a first picture of some rows and columns, with the released sizes.

    Raises:
        InputError: No such video can be made.
    """
    return LingBotOutline(
        config=config,
        trajectory=script.trajectory,
        path=_path(config, script, _frame_size(config, picture_shape)),
        given_frames=script.given_frames,
    )


def open_outline(config: GenerateConfig, script: Script) -> LingBotOutline:
    """Draw a rollout; see `core.models.outline.OpenOutline`."""
    check_settings(config)
    shape = given_shape(config)
    drawn = draw(config, script, shape or PICTURE_SHAPE)
    sizes, notes = found_sizes(config)
    if shape is not None:
        notes += tuple(stretch_notes(drawn, shape))
    elif config.size is None:
        width, height = drawn.frame_size
        notes += (f"a picture of the released shape is assumed, for a video of {width}x{height}",)
    return replace(drawn, sizes=sizes, notes=(*notes, *position_notes(drawn)))


def stretch_notes(outline: LingBotOutline, picture_shape: tuple[int, int]) -> Iterator[str]:
    """What the user should know of the size of the video."""
    (rows, cols), (width, height) = picture_shape, outline.frame_size
    if abs(width * rows / (height * cols) - 1) > MOST_STRETCH:
        yield f"the picture of {cols}x{rows} is stretched to {width}x{height}"


def position_notes(outline: LingBotOutline) -> Iterator[str]:
    """What the user should know of the length of the video."""
    num_frames = outline.viewpoints.num_frames
    if num_frames > POSITION_ROWS and outline.config.positions not in ("slot", "contiguous"):
        yield (
            f"{num_frames} latent frames: beyond {POSITION_ROWS}, keys stand further back in time than "
            "the reference implementation can number; --positions slot keeps them near"
        )


def found_sizes(config: GenerateConfig) -> tuple[LingBotSizes, tuple[str, ...]]:
    """Sizes of the checkpoint that a run would use, from its headers, and what was taken for granted.

    Raises:
        ModelFilesError: The checkpoint that the settings name is not what it should be.
    """
    try:
        if config.checkpoint is None:
            find_files(config.model)
        from core.models.lingbot.parts import open_parts  # needs torch, which most plans can do without

        return open_parts(config.model, config.checkpoint).sizes, ()
    except ModelFilesError as error:
        if config.checkpoint is not None:
            raise
        return RELEASED, (f"sizes of the released checkpoint are assumed: {error.problem}",)


def _ways_out(config: GenerateConfig) -> Iterator[str]:
    """What is still left to turn, for who asks for less memory than there can be."""
    if config.weights == "resident":
        yield "--weights streamed"
    if config.bank == "device":
        yield "--bank host"
    if config.weights not in ("int8", "fp8"):
        yield "--weights int8 (costs some fidelity)"
    if config.decode_dtype == "float32":
        yield "--decode-dtype bfloat16"
    yield "a smaller --size"


def _frame_size(config: GenerateConfig, shape: tuple[int, int]) -> tuple[int, int]:
    """Width and height of the video."""
    if config.size is not None:
        return parse_size(config.size, where="--size")
    return release_size(*shape) if config.conditioning == "release" else size_of(*shape)


def _path(config: GenerateConfig, script: Script, size: tuple[int, int]) -> CameraPath:
    if config.conditioning == "exact":
        return CameraPath.exact(script.trajectory, size, script.chunk_frames, config.translation_scale)
    source = script.uncut if config.fit == "cut" else script.trajectory
    return CameraPath.as_released(source, size, script.chunk_frames, config.translation_scale)
