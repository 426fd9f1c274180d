"""The few shapes that figures are made of. All text is escaped here, and only here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final

WIDTH: Final = 1000
_X_TICKS: Final = 8
_Y_TICKS: Final = 4
PATTERNS: Final = {
    "//": '<path d="M-1 7L7 -1M3 11L11 3" stroke="#fff" stroke-opacity=".55" stroke-width="1.4"/>',
    "..": '<circle cx="4" cy="4" r="1.3" fill="#fff" fill-opacity=".75"/>',
    "xx": '<path d="M0 0L8 8M8 0L0 8" stroke="#000" stroke-opacity=".3"/>',
}
"""Hatches of the palette as tiles of 8 px."""

PATTERN_NAMES: Final = {"//": "h-lines", "..": "h-dots", "xx": "h-cross"}
Number = int | float
"""A whole number is a number, too, for whoever checks types while it runs."""

Numbers = Sequence[Number]
Points = Sequence[tuple[Number, Number]]


@dataclass
class Chart:
    """A figure with axes.

    Attributes:
        title: Its accessible name.
        description: What a reader who cannot see it should know.
        x: Values at the left and right edge.
        y: Values at the lower and upper edge.
        x_label: Name and unit of the horizontal axis; empty for none.
        y_label: The same of the vertical one.
        height: In px of the view box, whose width is 1000.
        unit: What x counts, "chunk" or "frame": the scripts then move the current position along.
        margins: Left, top, right, bottom, px.
    """

    title: str
    description: str
    x: tuple[Number, Number]
    y: tuple[Number, Number]
    x_label: str = ""
    y_label: str = ""
    height: int = 220
    unit: str = ""
    margins: tuple[Number, Number, Number, Number] = (64, 14, 18, 40)
    y_ticks: bool = True
    _shapes: list[str] = field(default_factory=list)

    def px(self, x: Number) -> float:
        """Where a value lies from the left."""
        left, _, right, _ = self.margins
        low, high = self.x
        return left + (x - low) / ((high - low) or 1) * (WIDTH - left - right)

    def py(self, y: Number) -> float:
        """Where a value lies from the top."""
        _, top, _, bottom = self.margins
        low, high = self.y
        return self.height - bottom - (y - low) / ((high - low) or 1) * (self.height - top - bottom)

    def add(self, *shapes: str) -> None:
        """Paint on top of what is there."""
        self._shapes.extend(shapes)

    def line(self, points: Points, colour: str, *, width: Number = 2, dashes: str = "") -> None:
        """A line through values; a NaN interrupts it."""
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        path = self._path(points)
        if path:
            self.add(
                f'<path d="{path}" fill="none" style="stroke:{colour}" stroke-width="{width}"'
                f'{dashed} stroke-linejoin="round"/>'
            )

    def band(self, x: Numbers, low: Numbers, high: Numbers, look: Fill) -> None:
        """The area between two curves."""
        if not x:
            return
        upper = [f"{self.px(a):.1f} {self.py(b):.1f}" for a, b in zip(x, high, strict=True)]
        lower = [f"{self.px(a):.1f} {self.py(b):.1f}" for a, b in zip(x, low, strict=True)]
        self._filled("M" + "L".join(upper + lower[::-1]) + "Z", look)

    def bars(
        self, edges: Sequence[Number], low: Sequence[Number], high: Sequence[Number], look: Fill
    ) -> None:
        """Bars between neighbouring edges."""
        path = ""
        for left, right, bottom, top in zip(edges[:-1], edges[1:], low, high, strict=True):
            if top > bottom:
                a, b = self.px(left), self.px(right)
                gap = min(0.8, (b - a) * 0.12)
                x0, x1 = f"{a + gap:.1f}", f"{b - gap:.1f}"
                path += f"M{x0} {self.py(bottom):.1f}V{self.py(top):.1f}H{x1}V{self.py(bottom):.1f}Z"
        if path:
            self._filled(path, look)

    def rule(self, y: Number, label: str, colour: str) -> None:
        """A dashed line across, with its name."""
        left, right, at = self.px(self.x[0]), self.px(self.x[1]), self.py(y)
        self.add(
            f'<path d="M{left:.1f} {at:.1f}H{right:.1f}" style="stroke:{colour}" stroke-dasharray="6 4"/>',
            text(right - 4, at - 5, label, anchor="end", cls="note"),
        )

    def svg(self, extra: str = "") -> str:
        """The figure."""
        moves = ""
        if self.unit:
            left, right = self.px(self.x[0]), self.px(self.x[1])
            moves = f' data-unit="{self.unit}" data-x="{left:.2f} {right:.2f} {self.x[0]:g} {self.x[1]:g}"'
        bottom = self.height - self.margins[3]
        return (
            f'<svg viewBox="0 0 {WIDTH} {self.height}" role="img" class="chart"{moves} '
            f'data-y="{self.margins[1]:g} {bottom:g}">'
            f"<title>{escape(self.title)}</title><desc>{escape(self.description)}</desc>"
            f"{''.join(self._axes())}{''.join(self._shapes)}{extra}</svg>"
        )

    def _filled(self, path: str, look: Fill) -> None:
        self.add(f'<path d="{path}" style="fill:{look.colour}" fill-opacity="{look.opacity:g}"/>')
        if look.hatch:
            self.add(f'<path d="{path}" fill="url(#{PATTERN_NAMES[look.hatch]})"/>')

    def _path(self, points: Points) -> str:
        path, pen = "", "M"
        for x, y in points:
            if math.isnan(y):
                pen = "M"
                continue
            path += f"{pen}{self.px(x):.1f} {self.py(y):.1f}"
            pen = "L"
        return path

    def _axes(self) -> Iterable[str]:
        left, right = self.px(self.x[0]), self.px(self.x[1])
        bottom, top = self.py(self.y[0]), self.py(self.y[1])
        for value in ticks(*self.y, about=_Y_TICKS) if self.y_ticks else ():
            at = self.py(value)
            yield f'<path class="grid" d="M{left:.1f} {at:.1f}H{right:.1f}"/>'
            yield text(left - 8, at + 4, number(value), anchor="end", cls="tick")
        yield f'<path class="axis" d="M{left:.1f} {bottom:.1f}H{right:.1f}"/>'
        if self.x_label:
            for value in ticks(*self.x, about=_X_TICKS, whole=self.unit != ""):
                at = self.px(value)
                yield f'<path class="axis" d="M{at:.1f} {bottom:.1f}v4"/>'
                yield text(at, bottom + 17, number(value), anchor="middle", cls="tick")
            yield text((left + right) / 2, self.height - 5, self.x_label, anchor="middle", cls="label")
        if self.y_label:
            middle = (top + bottom) / 2
            yield (
                f'<text class="label" text-anchor="middle" '
                f'transform="translate(15 {middle:.1f}) rotate(-90)">'
                f"{escape(self.y_label)}</text>"
            )


@dataclass(frozen=True)
class Fill:
    """How an area is filled.

    Attributes:
        colour: A CSS colour.
        hatch: A pattern of the palette, or none.
        opacity: Range: (0, 1].
    """

    colour: str
    hatch: str = ""
    opacity: Number = 1.0


def text(x: Number, y: Number, words: str, *, anchor: str = "start", cls: str = "tick") -> str:
    """A line of text."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{cls}">{escape(words)}</text>'


def dot(
    x: Number, y: Number, colour: str, *, radius: Number = 4, hollow: bool = False, more: str = ""
) -> str:
    """A circle; hollow ones are told apart without colour."""
    paint = f"fill:none;stroke:{colour}" if hollow else f"fill:{colour}"
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" style="{paint}" stroke-width="1.5"{more}/>'


def hatch_definitions() -> str:
    """The patterns, once a page."""
    tiles = "".join(
        f'<pattern id="{PATTERN_NAMES[hatch]}" width="8" height="8" '
        f'patternUnits="userSpaceOnUse">{tile}</pattern>'
        for hatch, tile in PATTERNS.items()
    )
    return f'<svg width="0" height="0" aria-hidden="true" class="defs"><defs>{tiles}</defs></svg>'


def ticks(low: Number, high: Number, *, about: int, whole: bool = False) -> list[Number]:
    """Round values between two, about so many."""
    span = high - low
    if span <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / about))
    step = next(f * power for f in (1, 2, 5, 10) if f * power >= span / about * (1 - 1e-9))
    if whole:
        step = max(1.0, round(step))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [count * step for count in range(first, last + 1)]


def number(value: Number) -> str:
    """A number on an axis."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"
