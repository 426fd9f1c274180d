"""A drawing as pixels, with Pillow."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont

from trajectories.preview.drawing import Dot, Drawing, Label, Line, Polygon, Shape

_OVERSAMPLING = 3  # Pillow draws without antialiasing: draw large, then shrink
_SCALE = 2  # pixels of the picture per unit of the drawing, for sharp text
_ANCHORS = {"start": "lm", "middle": "mm", "end": "rm"}


def to_image(drawing: Drawing) -> Image.Image:
    """Draw at twice the drawing's size."""
    factor = _SCALE * _OVERSAMPLING
    image = Image.new("RGB", (drawing.width * factor, drawing.height * factor), "white")
    pen = ImageDraw.Draw(image, "RGBA")
    for shape in drawing.shapes:
        _draw(pen, shape, factor)
    return image.resize((drawing.width * _SCALE, drawing.height * _SCALE), Image.Resampling.LANCZOS)


def _draw(pen: ImageDraw.ImageDraw, shape: Shape, factor: int) -> None:
    if isinstance(shape, Line):
        points = [(x * factor, y * factor) for x, y in shape.points]
        width = max(1, round(shape.width * factor))
        pen.line(points, fill=shape.colour, width=width, joint="curve")
        if shape.colour[3] == 255 and width > factor:
            for x, y in (points[0], points[-1]):
                pen.ellipse(_box(x, y, width / 2), fill=shape.colour)
    elif isinstance(shape, Polygon):
        pen.polygon([(x * factor, y * factor) for x, y in shape.points], fill=shape.fill)
    elif isinstance(shape, Dot):
        box = _box(
            shape.centre[0] * factor, shape.centre[1] * factor, (shape.radius + shape.rim_width / 2) * factor
        )
        pen.ellipse(box, fill=shape.fill, outline=shape.rim, width=round(shape.rim_width * factor))
    else:
        _write(pen, shape, factor)


def _write(pen: ImageDraw.ImageDraw, label: Label, factor: int) -> None:
    font = ImageFont.load_default(label.size * factor)
    place = (label.at[0] * factor, label.at[1] * factor)
    pen.text(place, label.text, fill=label.colour, font=font, anchor=_ANCHORS[label.anchor])


def _box(x: float, y: float, radius: float) -> tuple[float, float, float, float]:
    return x - radius, y - radius, x + radius, y + radius
