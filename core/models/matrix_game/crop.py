"""What of a picture Matrix-Game sees; needs no torch."""

from __future__ import annotations

NOTED_LOSS = 0.03
"""Share of a picture that may be cut off without a word: 640x352 is not quite 16:9."""


def kept_part(rows: int, cols: int, size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns around the middle that have the shape of `size` (width, height), at least one each."""
    width, height = size
    return max(1, min(rows, cols * height // width)), max(1, min(cols, rows * width // height))


def crop_note(rows: int, cols: int, size: tuple[int, int]) -> str | None:
    """What the user should know if much of a picture is cut off."""
    keep_rows, keep_cols = kept_part(rows, cols, size)
    if keep_rows * keep_cols >= (1 - NOTED_LOSS) * rows * cols:
        return None
    return (
        f"of the picture of {cols}x{rows} only the middle {keep_cols}x{keep_rows} is used, which has the "
        f"shape of {size[0]}x{size[1]}"
    )
