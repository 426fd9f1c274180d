"""A drawing as SVG text."""

from __future__ import annotations

from xml.sax.saxutils import escape

from trajectories.preview.drawing import Colour, Dot, Drawing, Line, Point, Polygon, Shape

_FONT = "Helvetica, Arial, sans-serif"


def to_svg(drawing: Drawing) -> str:
    """Write a drawing as an SVG document."""
    size = f'width="{drawing.width}" height="{drawing.height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {drawing.width} {drawing.height}">'
    return "\n".join([head, *map(_element, drawing.shapes), "</svg>", ""])


def _element(shape: Shape) -> str:
    if isinstance(shape, Line):
        stroke = f'{_paint("stroke", shape.colour)} stroke-width="{shape.width:g}"'
        return f'<polyline points="{_points(shape.points)}" fill="none" {stroke} stroke-linecap="round"/>'
    if isinstance(shape, Polygon):
        return f'<polygon points="{_points(shape.points)}" {_paint("fill", shape.fill)}/>'
    if isinstance(shape, Dot):
        x, y = shape.centre
        rim = f'{_paint("stroke", shape.rim)} stroke-width="{shape.rim_width:g}"'
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{shape.radius:g}" {_paint("fill", shape.fill)} {rim}/>'
    x, y = shape.at
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{shape.anchor}" dominant-baseline="central"'
    font = f'font-family="{_FONT}" font-size="{shape.size:g}"'
    return f"<text {place} {font} {_paint('fill', shape.colour)}>{escape(shape.text)}</text>"


def _points(points: tuple[Point, ...]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _paint(name: str, colour: Colour) -> str:
    red, green, blue, opacity = colour
    see_through = f' {name}-opacity="{opacity / 255:.2f}"' if opacity < 255 else ""
    return f'{name}="#{red:02x}{green:02x}{blue:02x}"{see_through}'
