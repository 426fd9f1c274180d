"""A grid of frames to look at: one row a rollout, one column a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from core.errors import InputError

_BACKGROUND, _INK, _FAINT = (255, 255, 255), (28, 28, 30), (110, 110, 115)


@dataclass(frozen=True, eq=False)
class SheetRow:
    """One rollout.

    Attributes:
        label: What it is, for example "sliding window".
        frames: Its frames, all of one size.
        note: A second, fainter line, for example "revisit 17.5 dB".
    """

    label: str
    frames: Sequence[UInt8[np.ndarray, "height width 3"]]
    note: str = ""


def contact_sheet(
    rows: Sequence[SheetRow],
    column_labels: Sequence[str],
    *,
    title: str = "",
    tile_width_px: int = 160,
    highlight: Sequence[int] = (),
) -> Image.Image:
    """Draw rows of frames under their times, labels at the left.

    Small frames are enlarged by whole factors without smoothing where `tile_width_px` is a multiple of their
    width, so that their pixels stay what the model made.

    Args:
        rows: The rollouts, top to bottom.
        column_labels: One label a column, for example "t = 96".
        title: A line above everything; empty for none.
        tile_width_px: Width of a frame on the sheet.
        highlight: Columns whose labels stand out, for example the revisits.

    Raises:
        InputError: There are no frames, or the rows do not fit the columns.
    """
    if not rows or not column_labels:
        raise InputError("a contact sheet needs at least one row and one column")
    for row in rows:
        if len(row.frames) != len(column_labels):
            problem = f"row {row.label!r} has {len(row.frames)} frames for {len(column_labels)} columns"
            raise InputError(problem, where="contact sheet")
    tiles = [[_tile(frame, tile_width_px) for frame in row.frames] for row in rows]
    return _Sheet(rows, column_labels, tiles, title).draw(highlight)


class _Sheet:
    """The measures of a sheet, all in proportion to its tiles."""

    def __init__(
        self,
        rows: Sequence[SheetRow],
        column_labels: Sequence[str],
        tiles: Sequence[Sequence[Image.Image]],
        title: str,
    ) -> None:
        self._rows, self._columns, self._tiles, self._title = rows, column_labels, tiles, title
        tile_width = tiles[0][0].width
        self._text_px = max(11, round(tile_width / 10))
        self._gap = max(2, tile_width // 40)
        self._pad = 3 * self._gap + self._text_px // 2
        self._font = ImageFont.load_default(self._text_px)
        self._small = ImageFont.load_default(max(10, round(0.85 * self._text_px)))
        self._large = ImageFont.load_default(round(1.25 * self._text_px))
        labels = [self._font.getlength(row.label) for row in rows]
        notes = [self._small.getlength(row.note) for row in rows]
        self._left = self._pad + round(max(*labels, *notes)) + self._pad
        self._top = self._pad + (2 * self._text_px if title else 0) + round(1.7 * self._text_px)
        self._column_width = max(tile_width, *(round(self._font.getlength(label)) for label in column_labels))

    def draw(self, highlight: Sequence[int]) -> Image.Image:
        """Put everything on the sheet."""
        heights = [row[0].height for row in self._tiles]
        width = self._left + len(self._columns) * (self._column_width + self._gap) - self._gap + self._pad
        title_width = round(self._large.getlength(self._title)) + 2 * self._pad
        height = self._top + sum(heights) + self._gap * (len(heights) - 1) + self._pad
        sheet = Image.new("RGB", (max(width, title_width), height), _BACKGROUND)
        canvas = ImageDraw.Draw(sheet)
        if self._title:
            canvas.text((self._pad, self._pad), self._title, fill=_INK, font=self._large, anchor="la")
        for column, label in enumerate(self._columns):
            centre = self._column_left(column) + self._column_width / 2
            marked = column in highlight
            baseline = self._top - round(0.6 * self._text_px)
            canvas.text(
                (centre, baseline), label, fill=_INK if marked else _FAINT, font=self._font, anchor="ms"
            )
            if marked:
                half = self._font.getlength(label) / 2
                line = (centre - half, baseline + 3, centre + half, baseline + 3)
                canvas.line(line, fill=_INK, width=max(1, self._text_px // 10))
        y = self._top
        for row, tiles, row_height in zip(self._rows, self._tiles, heights, strict=True):
            self._draw_label(canvas, row, y + row_height / 2)
            for column, tile in enumerate(tiles):
                sheet.paste(tile, (self._column_left(column) + (self._column_width - tile.width) // 2, y))
            y += row_height + self._gap
        return sheet

    def _column_left(self, column: int) -> int:
        return self._left + column * (self._column_width + self._gap)

    def _draw_label(self, canvas: ImageDraw.ImageDraw, row: SheetRow, middle: float) -> None:
        if not row.note:
            canvas.text((self._pad, middle), row.label, fill=_INK, font=self._font, anchor="lm")
            return
        canvas.text((self._pad, middle - 2), row.label, fill=_INK, font=self._font, anchor="ld")
        canvas.text((self._pad, middle + 2), row.note, fill=_FAINT, font=self._small, anchor="la")


def _tile(frame: UInt8[np.ndarray, "height width 3"], width: int) -> Image.Image:
    height = max(1, round(frame.shape[0] * width / frame.shape[1]))
    whole = width % frame.shape[1] == 0
    return Image.fromarray(frame).resize(
        (width, height), Image.Resampling.NEAREST if whole else Image.Resampling.LANCZOS
    )
