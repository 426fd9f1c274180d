"""The camera path from above, and its height. +Z (forward) points up, +X to the right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

import numpy as np
from jaxtyping import Float64

from core.report.svg import Chart, dot, number, text
from core.report.track import Track

SIDE: Final = 480
MARGIN: Final = 54.0
LEAST_RANGE: Final = 1.0
"""World units that the figure shows at least: a turn on the spot has no size of its own."""
MOST_POINTS: Final = 4000
MOST_TICKS: Final = 90
TICK_PX: Final = 13.0
RING_PX: Final = 20.0
"""How far out the view of a camera that stands still is marked."""
LEAST_HEIGHT_RANGE: Final = 1e-3


@dataclass(frozen=True)
class Floor:
    """Maps the floor to the figure.

    Attributes:
        x: World x in the middle.
        z: World z in the middle.
        px_per_unit: Scale.
    """

    x: float
    z: float
    px_per_unit: float

    @classmethod
    def around(cls, points: Float64[np.ndarray, "points 2"]) -> Floor:
        """A floor that shows all points."""
        low, high = points.min(axis=0), points.max(axis=0)
        size = max(float((high - low).max()), LEAST_RANGE)
        middle = (low + high) / 2
        return cls(float(middle[0]), float(middle[1]), (SIDE - 2 * MARGIN) / size)

    def at(self, x: int | float, z: int | float) -> tuple[float, float]:
        """Px of a place."""
        return SIDE / 2 + (x - self.x) * self.px_per_unit, SIDE / 2 - (z - self.z) * self.px_per_unit


def path_figure(tracks: Sequence[tuple[Track, str]], *, index: int = 0) -> tuple[str, dict[str, Any]]:
    """The figure, and what the scripts need to move the camera in it.

    Args:
        tracks: Paths with their colours; the camera runs along the first one.
        index: Which run of the page it is.
    """
    paths = [track.points(MOST_POINTS) for track, _ in tracks]
    floor = Floor.around(np.concatenate([path[:, [1, 3]] for path in paths]))
    shapes = [_grid(floor)]
    first, points = tracks[0][0], paths[0]
    if first.reckoned:
        x, z = first.cameras[:, 0, 3], first.cameras[:, 2, 3]
        chosen = np.linspace(0, len(x) - 1, min(len(x), MOST_POINTS)).astype(int)
        scripted = [floor.at(float(x[i]), float(z[i])) for i in chosen]
        shapes.append(f'<path d="{_d(scripted)}" class="scripted"/>')
    for path, (_, colour) in zip(paths[::-1], tracks[::-1], strict=True):
        line = [floor.at(float(x), float(z)) for x, z in path[:, [1, 3]]]
        shapes.append(f'<path d="{_d(line)}" class="way" style="stroke:{colour}"/>')
    shapes += [_views(points, floor), _ends(points, floor, tracks[0][1])]
    moving = '<g class="recalled"></g><path class="travelled"/><g class="camera" visibility="hidden">'
    moving += '<path class="wedge"/><circle class="eye" r="5.5"/></g>'
    title = "Camera path from above"
    description = (
        f"{len(first.cameras):,} video frames, {_length(points):.1f} world units long; forward is up."
        + (
            " The memory goes by dead reckoning; the dashed line is the scripted path."
            if first.reckoned
            else ""
        )
    )
    svg = (
        f'<svg viewBox="0 0 {SIDE} {SIDE}" role="img" class="map" data-map="{index}">'
        f"<title>{title}</title><desc>{escape(description)}</desc>{''.join(shapes)}{moving}</svg>"
    )
    data = {
        "points": [[round(float(v), 4) for v in row] for row in points],
        "floor": [floor.x, floor.z, floor.px_per_unit, SIDE],
        "fov": first.fov_deg,
    }
    return svg, data


def height_figure(track: Track, colour: str) -> str:
    """Height over time; empty if the camera never rises or falls."""
    points = track.points(MOST_POINTS)
    heights = points[:, 2]
    low, high = float(heights.min()), float(heights.max())
    if high - low < LEAST_HEIGHT_RANGE:
        return ""
    pad = 0.12 * (high - low)
    chart = Chart(
        "Height of the camera",
        f"Between {low:.2f} and {high:.2f} world units.",
        (0, float(points[-1, 0]) + 1),
        (low - pad, high + pad),
        x_label="video frame",
        y_label="height, units",
        height=130,
        unit="frame",
    )
    chart.line(list(zip(points[:, 0].tolist(), heights.tolist(), strict=True)), colour)
    return chart.svg()


def _grid(floor: Floor) -> str:
    """Lines at round world units."""
    half = SIDE / 2 / floor.px_per_unit
    power = 10.0 ** math.floor(math.log10(half / 2))
    step = next(f * power for f in (1, 2, 5, 10) if f * power >= half / 2)
    lines = ""
    for middle, is_x in ((floor.x, True), (floor.z, False)):
        for count in range(math.ceil((middle - half) / step), math.floor((middle + half) / step) + 1):
            x, y = floor.at(count * step, floor.z) if is_x else floor.at(floor.x, count * step)
            if min(x, y) < 14 or max(x, y) > SIDE - 14:
                continue
            lines += f'<path class="grid" d="M{x:.1f} 0V{SIDE}"/>' if is_x else ""
            lines += "" if is_x else f'<path class="grid" d="M0 {y:.1f}H{SIDE}"/>'
            name = number(round(count * step, 9))
            lines += text(x + 3, SIDE - 6, name, cls="tick") if is_x else text(5, y - 4, name, cls="tick")
    return lines + text(SIDE - 8, 18, "from above, world units", anchor="end", cls="tick")


def _views(points: Float64[np.ndarray, "points 5"], floor: Floor) -> str:
    """Short strokes along the view, from time to time."""
    chosen = np.unique(np.linspace(0, len(points) - 1, min(len(points), MOST_TICKS)).round().astype(int))
    path = ""
    for _, x, _, z, yaw in points[chosen]:
        px, py = floor.at(float(x), float(z))
        dx, dy = math.sin(math.radians(yaw)), -math.cos(math.radians(yaw))
        near, far = RING_PX - TICK_PX, RING_PX
        path += f"M{px + near * dx:.1f} {py + near * dy:.1f}L{px + far * dx:.1f} {py + far * dy:.1f}"
    return f'<path d="{path}" class="views"/>'


def _ends(points: Float64[np.ndarray, "points 5"], floor: Floor, colour: str) -> str:
    start = floor.at(float(points[0, 1]), float(points[0, 3]))
    end = floor.at(float(points[-1, 1]), float(points[-1, 3]))
    return dot(*end, colour, radius=6, hollow=True) + dot(*start, colour, radius=4)


def _d(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _length(points: Float64[np.ndarray, "points 5"]) -> float:
    return float(np.linalg.norm(np.diff(points[:, 1:4], axis=0), axis=1).sum())
