"""The strip below the plan: time from left to right, with an arc for everything that is seen again."""

from __future__ import annotations

import math

from trajectories.geometry import RevisitSegment
from trajectories.preview.drawing import Colour, Drawing, Label, Line, Point, Polygon
from trajectories.summary import Summary

INK: Colour = (34, 40, 49, 255)
MUTED: Colour = (112, 120, 132, 255)
_BAR_HEIGHT = 12.0
_GRADIENT = ((52, 62, 148), (30, 132, 178), (64, 168, 122), (236, 172, 54), (206, 62, 54))
_ARC_STEPS = 40


def time_colour(share: float) -> Colour:
    """Colour of a moment: 0 is the start, 1 the end."""
    place = min(max(share, 0.0), 1.0) * (len(_GRADIENT) - 1)
    index = min(int(place), len(_GRADIENT) - 2)
    part = place - index
    low, high = _GRADIENT[index], _GRADIENT[index + 1]
    red, green, blue = (round(a + part * (b - a)) for a, b in zip(low, high, strict=True))
    return red, green, blue, 255


def draw_timeline(
    drawing: Drawing, summary: Summary, *, left: float, right: float, top: float, bottom: float
) -> None:
    """Draw the colour bar at `bottom`, the arcs of the revisits above it, and frame numbers below."""
    last_frame = summary.num_frames - 1
    px_per_frame = (right - left) / last_frame
    most = max((segment.stop - segment.first_stop for segment in summary.revisits), default=1)
    height = bottom - top - 8
    for segment in summary.revisits:
        drawing.add(_ribbon(segment, left, bottom, px_per_frame, height / max(most, 1), last_frame))
    steps = 120
    for step in range(steps):
        x0, x1 = (left + (right - left) * edge / steps for edge in (step, step + 1))
        box = ((x0, bottom), (x1 + 0.5, bottom), (x1 + 0.5, bottom + _BAR_HEIGHT), (x0, bottom + _BAR_HEIGHT))
        drawing.add(Polygon(box, time_colour((step + 0.5) / steps)))
    for frame in _frame_numbers(last_frame):
        x = left + frame * px_per_frame
        drawing.add(Line(((x, bottom + _BAR_HEIGHT), (x, bottom + _BAR_HEIGHT + 4)), MUTED))
        drawing.add(Label((x, bottom + _BAR_HEIGHT + 13), str(frame), 10.0, MUTED, "middle"))
    drawing.add(Label((right, bottom + _BAR_HEIGHT + 32), _caption(summary), 12.0, MUTED, "end"))
    drawing.add(Label((left, bottom + _BAR_HEIGHT + 32), "time in video frames", 12.0, MUTED))


def _caption(summary: Summary) -> str:
    if summary.num_revisits is None:
        return "revisits not searched: too long"
    if not summary.revisits:
        return "no revisits"
    low = min(segment.min_gap_frames for segment in summary.revisits)
    high = max(segment.max_gap_frames for segment in summary.revisits)
    return f"arcs join what is seen again: {summary.num_revisits} frames, gaps {low} to {high}"


def _ribbon(
    segment: RevisitSegment, left: float, base: float, px_per_frame: float, px_height: float, last_frame: int
) -> Polygon:
    """The area between the arcs of a stretch's first and last frame."""

    def arc(first: float, again: float) -> list[Point]:
        middle, radius = (first + again) / 2, (again - first) / 2
        points = []
        for step in range(_ARC_STEPS + 1):
            angle = math.pi * (1 - step / _ARC_STEPS)
            frame = middle + radius * math.cos(angle)
            points.append((left + frame * px_per_frame, base - 2 * radius * px_height * math.sin(angle)))
        return points

    red, green, blue, _ = time_colour((segment.first_start + segment.first_stop) / 2 / last_frame)
    near = arc(segment.first_start - 0.5, segment.start - 0.5)
    far = arc(segment.first_stop + 0.5, segment.stop + 0.5)
    return Polygon((*near, *reversed(far)), (red, green, blue, 110))


def _frame_numbers(last_frame: int) -> list[int]:
    """About eight round numbers, and the last frame."""
    least = max(last_frame / 8.0, 1.0)
    power = 10 ** math.floor(math.log10(least))
    spacing = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)
    return [*range(0, last_frame - spacing // 2, spacing), last_frame]
