"""What planning needs of a rollout: shapes, cameras and sizes; no picture, prompt, checkpoint or torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from core.config import GenerateConfig
from core.elements import Element
from core.memory.footprint import Footprint
from core.memory.plan import MemoryPlan
from core.memory.positions import PositionMode
from core.memory.prune_policy import PruneRule
from core.memory.viewpoints import Viewpoints
from core.placement import Parts, Turns
from core.script import Script
from trajectories import Trajectory


@dataclass(frozen=True)
class WindowDefaults:
    """How a model is best run, in latent frames and in chunks' worth of retrieved tokens.

    The rule of pruning is the paper's where nothing else was measured.
    """

    sink_frames: int
    recent_frames: int
    retrieve_chunks: Mapping[str, float]
    strategy: str = "rays"
    positions: PositionMode = PositionMode.ABSOLUTE
    prune: PruneRule = "key"


@runtime_checkable
class Outline(Protocol):
    """A rollout as far as it can be planned before anything of it is there."""

    @property
    def trajectory(self) -> Trajectory:
        """What is generated, whole chunks, a prefix included."""
        ...

    @property
    def viewpoints(self) -> Viewpoints:
        """Cameras of the latent frames."""
        ...

    @property
    def defaults(self) -> WindowDefaults:
        """How the model is best run."""
        ...

    @property
    def trained_frames(self) -> int:
        """Latent frames back that the model saw in training."""
        ...

    @property
    def frame_size(self) -> tuple[int, int]:
        """Width and height of a video frame in pixels."""
        ...

    @property
    def passes(self) -> int:
        """Passes of the network that denoise a chunk; one more writes its keys and values."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know before it starts."""
        ...

    @property
    def ways_out(self) -> tuple[str, ...]:
        """Flags that would take less memory."""
        ...

    def footprint(self, dtype: Element) -> Footprint:
        """Shapes and bytes of keys, values and weights."""
        ...

    def options(self, plan: MemoryPlan, dtype: Element) -> Iterator[tuple[Turns, Parts]]:
        """What can be turned when memory is short, from the fastest to the smallest, and what each takes.

        Only what the user left open is turned. Window and bank are not counted: they are the plan's.

        Args:
            plan: The rollout's memory.
            dtype: Of weights, keys and values.
        """
        ...


@runtime_checkable
class OpenOutline(Protocol):
    """Draws the outline of a rollout from settings and what will be shown."""

    def __call__(self, config: GenerateConfig, script: Script) -> Outline:
        """Sizes are those of the checkpoint that would be used, or of the released one where there is none.

        The same for the size of the video where no picture is given.
        """
        ...


class Outlined:
    """What a session takes over from its outline.

    Args:
        outline: The rollout as it was planned.
    """

    def __init__(self, outline: Outline) -> None:
        self.outline = outline

    @property
    def trajectory(self) -> Trajectory:
        """What is generated."""
        return self.outline.trajectory

    @property
    def viewpoints(self) -> Viewpoints:
        """Cameras of the latent frames."""
        return self.outline.viewpoints

    @property
    def defaults(self) -> WindowDefaults:
        """How the model is best run."""
        return self.outline.defaults

    @property
    def trained_frames(self) -> int:
        """Latent frames back that the model saw in training."""
        return self.outline.trained_frames

    @property
    def frame_size(self) -> tuple[int, int]:
        """Width and height of a video frame in pixels."""
        return self.outline.frame_size

    @property
    def passes(self) -> int:
        """Passes of the network that denoise a chunk."""
        return self.outline.passes

    @property
    def ways_out(self) -> tuple[str, ...]:
        """Flags that would take less memory."""
        return self.outline.ways_out

    def footprint(self, dtype: Element) -> Footprint:
        """Shapes and bytes of keys, values and weights."""
        return self.outline.footprint(dtype)

    def options(self, plan: MemoryPlan, dtype: Element) -> Iterator[tuple[Turns, Parts]]:
        """What can be turned when memory is short, and what each turn takes."""
        return self.outline.options(plan, dtype)
