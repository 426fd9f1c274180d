"""What a trajectory looks like from above: its path over the floor, and its revisits over time.

+Z (forward) points up, +X to the right, so a turn to the right goes clockwise. Colour is time, in the plan
and in the strip below it, where an arc joins every stretch that is seen again to the stretch that saw it
first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from trajectories.geometry import angles_from_rotations, forward
from trajectories.preview.drawing import Colour, Dot, Drawing, Label, Line, Point, Polygon
from trajectories.preview.timeline import INK, MUTED, draw_timeline, time_colour
from trajectories.summary import Summary
from trajectories.trajectory import Trajectory

WIDTH, HEIGHT = 900, 800
_PLAN = (60.0, 84.0, 870.0, 614.0)  # left, top, right, bottom
_MAX_POINTS = 4000
_GRID: Colour = (232, 234, 238, 255)
_WHITE: Colour = (255, 255, 255, 255)
_FIRST_WIDTH, _LAST_WIDTH = 9.0, 2.0
_TICK_PX = 15.0
_SPIRAL_PX = 22.0  # how much farther out the ticks of a turn on the spot stand after each full turn
_LEAST_RANGE = 2.0  # world units: a turn on the spot has no size of its own
_MARGIN_PX = 60.0


@dataclass(frozen=True)
class _Floor:
    """Maps the floor to pixels."""

    centre_x: float
    centre_z: float
    px_per_unit: float

    def at(self, x: float, z: float) -> Point:
        left, top, right, bottom = _PLAN
        return (
            (left + right) / 2 + (x - self.centre_x) * self.px_per_unit,
            (top + bottom) / 2 - (z - self.centre_z) * self.px_per_unit,
        )


def plan_view(trajectory: Trajectory, summary: Summary) -> Drawing:
    """Draw a trajectory from above."""
    drawing = Drawing(WIDTH, HEIGHT)
    position = trajectory.c2w[:, :3, 3]
    floor = _fit(position)
    _draw_title(drawing, summary)
    _draw_grid(drawing, floor)
    _draw_path(drawing, trajectory, floor)
    spirals = _draw_ticks(drawing, trajectory, floor)
    _draw_marks(drawing, trajectory, floor, spirals)
    _draw_ends(drawing, position, floor)
    draw_timeline(drawing, summary, left=_PLAN[0], right=_PLAN[2], top=640.0, bottom=HEIGHT - 58.0)
    return drawing


def _fit(position: Float64[np.ndarray, "frames 3"]) -> _Floor:
    low, high = position.min(axis=0), position.max(axis=0)
    left, top, right, bottom = _PLAN
    ranges = [max(float(high[axis] - low[axis]), _LEAST_RANGE) for axis in (0, 2)]
    scale = min((right - left - 2 * _MARGIN_PX) / ranges[0], (bottom - top - 2 * _MARGIN_PX) / ranges[1])
    return _Floor(float(low[0] + high[0]) / 2, float(low[2] + high[2]) / 2, scale)


def _draw_title(drawing: Drawing, summary: Summary) -> None:
    figures = (
        f"{summary.num_frames} frames   {summary.duration_s:.1f} s   "
        f"path {summary.path_length_units:.1f} units   turned {summary.total_turn_deg:.0f} degrees"
    )
    drawing.add(
        Label((_PLAN[0], 32.0), summary.name, 22.0, INK),
        Label((_PLAN[0], 58.0), figures, 13.0, MUTED),
        Label((_PLAN[2], 58.0), "seen from above, forward is up", 13.0, MUTED, "end"),
    )


def _draw_grid(drawing: Drawing, floor: _Floor) -> None:
    left, top, right, bottom = _PLAN
    spacing = _nice_spacing(60.0 / floor.px_per_unit)
    half_x, half_z = (right - left) / 2 / floor.px_per_unit, (bottom - top) / 2 / floor.px_per_unit
    for value in _multiples(floor.centre_x - half_x, floor.centre_x + half_x, spacing):
        x, _ = floor.at(value, 0.0)
        drawing.add(
            Line(((x, top), (x, bottom)), _GRID), Label((x, bottom + 11), f"{value:g}", 10.0, MUTED, "middle")
        )
    for value in _multiples(floor.centre_z - half_z, floor.centre_z + half_z, spacing):
        _, y = floor.at(0.0, value)
        drawing.add(
            Line(((left, y), (right, y)), _GRID), Label((left - 8, y), f"{value:g}", 10.0, MUTED, "end")
        )


def _nice_spacing(least: float) -> float:
    """The smallest 1, 2 or 5 times a power of ten that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def _multiples(low: float, high: float, spacing: float) -> list[float]:
    first, last = math.ceil(low / spacing), math.floor(high / spacing)
    return [round(number * spacing, 9) + 0.0 for number in range(first, last + 1)]


def _draw_path(drawing: Drawing, trajectory: Trajectory, floor: _Floor) -> None:
    stride = -(-trajectory.num_frames // _MAX_POINTS)
    frames = [*range(0, trajectory.num_frames - 1, stride), trajectory.num_frames - 1]
    points = [floor.at(float(x), float(z)) for x, _, z in trajectory.c2w[frames, :3, 3]]
    for index in range(len(points) - 1):
        if math.dist(points[index], points[index + 1]) > 0.01:
            colour = time_colour(frames[index] / (trajectory.num_frames - 1))
            # Later rounds are thinner, so that the earlier ones show beneath them.
            width = _FIRST_WIDTH + (_LAST_WIDTH - _FIRST_WIDTH) * frames[index] / trajectory.num_frames
            drawing.add(Line((points[index], points[index + 1]), colour, width))


def _draw_ticks(drawing: Drawing, trajectory: Trajectory, floor: _Floor) -> list[tuple[Point, float]]:
    """Short strokes along the view. While the camera turns on the spot they wind outwards in a spiral.

    Returns:
        Places where the camera turns, each with how far its strokes reach, in pixels.
    """
    spirals: list[tuple[Point, float]] = []
    yaw = np.unwrap(angles_from_rotations(trajectory.c2w[:, :3, :3])[:, 0], period=360.0)
    ahead, position = forward(yaw), trajectory.c2w[:, :3, 3]
    stride = -(-trajectory.num_frames // 1200)
    turned_here, last_drawn = 0.0, -math.inf
    for frame in range(trajectory.num_frames):
        if frame and np.linalg.norm(position[frame] - position[frame - 1]) > 1e-6:
            turned_here = 0.0
        elif frame:
            turned_here += abs(float(yaw[frame] - yaw[frame - 1]))
        standing = turned_here > 0
        if frame - last_drawn < (stride if standing else 3 * stride):
            continue
        if frame and not standing and np.allclose(trajectory.c2w[frame], trajectory.c2w[frame - 1]):
            continue
        last_drawn = frame
        x, y = floor.at(float(position[frame, 0]), float(position[frame, 2]))
        near = 8.0 + (_SPIRAL_PX * turned_here / 360.0 if standing else 0.0)
        to_x, to_y = float(ahead[frame, 0]), -float(ahead[frame, 2])
        stroke = (
            (x + near * to_x, y + near * to_y),
            (x + (near + _TICK_PX) * to_x, y + (near + _TICK_PX) * to_y),
        )
        drawing.add(Line(stroke, time_colour(frame / (trajectory.num_frames - 1)), 1.6))
        if standing:
            spirals.append(((x, y), near + _TICK_PX))
    return spirals


def _draw_marks(
    drawing: Drawing, trajectory: Trajectory, floor: _Floor, spirals: list[tuple[Point, float]]
) -> None:
    """Name the marks, below everything drawn around them; those at the same place share a label."""
    places: dict[Point, list[str]] = {}
    for name, frame in trajectory.marks.items():
        point = floor.at(float(trajectory.c2w[frame, 0, 3]), float(trajectory.c2w[frame, 2, 3]))
        near = next((place for place in places if math.dist(place, point) < 12.0), point)
        names = places.setdefault(near, [])
        base = name.split("@")[0]
        if base not in names:
            names.append(base)
    for (x, y), names in places.items():
        text = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
        below = (
            max((reach for place, reach in spirals if math.dist(place, (x, y)) < 12.0), default=6.0) + 13.0
        )
        half = 3.2 * len(text) + 4.0
        paper = (
            (x - half, y + below - 9),
            (x + half, y + below - 9),
            (x + half, y + below + 9),
            (x - half, y + below + 9),
        )
        drawing.add(
            Dot((x, y), 3.6, _WHITE, INK, 1.4),
            Polygon(paper, (255, 255, 255, 200)),
            Label((x, y + below), text, 12.0, INK, "middle"),
        )


def _draw_ends(drawing: Drawing, position: Float64[np.ndarray, "frames 3"], floor: _Floor) -> None:
    start = floor.at(float(position[0, 0]), float(position[0, 2]))
    end = floor.at(float(position[-1, 0]), float(position[-1, 2]))
    drawing.add(Dot(end, 7.5, time_colour(1.0), _WHITE), Dot(start, 4.5, time_colour(0.0), _WHITE))
