"""The shapes that a plot is made of. Pixels, origin at the top left."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Point = tuple[float, float]
Colour = tuple[int, int, int, int]  # red, green, blue, opacity, each 0..255


@dataclass(frozen=True)
class Line:
    """An open line with round ends."""

    points: tuple[Point, ...]
    colour: Colour
    width: float = 1.0


@dataclass(frozen=True)
class Polygon:
    """A filled area."""

    points: tuple[Point, ...]
    fill: Colour


@dataclass(frozen=True)
class Dot:
    """A filled circle with a rim."""

    centre: Point
    radius: float
    fill: Colour
    rim: Colour
    rim_width: float = 1.5


@dataclass(frozen=True)
class Label:
    """One line of text; `anchor` says which of its ends lies at `at`. `at` is the middle of its height."""

    at: Point
    text: str
    size: float
    colour: Colour
    anchor: Literal["start", "middle", "end"] = "start"


Shape = Line | Polygon | Dot | Label


@dataclass
class Drawing:
    """Shapes in painting order."""

    width: int
    height: int
    shapes: list[Shape] = field(default_factory=list)

    def add(self, *shapes: Shape) -> None:
        """Paint on top of what is there."""
        self.shapes.extend(shapes)
