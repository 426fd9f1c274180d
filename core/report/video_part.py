"""The video in the page: inside the file while it is small, linked beside it when it is not."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final
from urllib.parse import quote

from core.report.source import RunSource

MOST_EMBEDDED_BYTES: Final = 32 << 20
"""Of all videos of a file together."""


@dataclass(frozen=True)
class VideoPart:
    """Where a page has a video from.

    Attributes:
        src: A data URI, or a path relative to the page; empty if there is no video.
        note: What the reader must know of it.
    """

    src: str
    note: str = ""

    @property
    def linked(self) -> bool:
        """Whether the page needs the file beside it."""
        return bool(self.src) and not self.src.startswith("data:")

    def element(self, label: str, *, run: int = 0, mask: bool = False) -> str:
        """The player; without scripts it is the browser's own.

        Args:
            label: Its accessible name.
            run: Which run of the page it shows.
            mask: Whether masks are drawn over it.
        """
        if not self.src:
            return '<div class="screen"><p class="empty">There is no video.</p></div>'
        canvas = '<canvas aria-hidden="true"></canvas>' if mask else ""
        return (
            f'<div class="screen"><video src="{escape(self.src)}" data-run="{run}" preload="auto" '
            f'controls muted playsinline aria-label="{escape(label)}"></video>{canvas}</div>'
        )


def video_parts(runs: list[RunSource], out: Path, *, link: bool) -> list[VideoPart]:
    """The videos of a page, all of them inside it or all beside it.

    Args:
        runs: The runs.
        out: Where the page will lie.
        link: Whether they are linked however small they are.
    """
    size = sum(run.video.size_bytes for run in runs if run.video is not None)
    return [_part(run, out, link=link or size > MOST_EMBEDDED_BYTES) for run in runs]


def _part(run: RunSource, out: Path, *, link: bool) -> VideoPart:
    if run.video is None:
        return VideoPart("")
    path = run.video.path
    if not link:
        return VideoPart("data:video/mp4;base64," + base64.b64encode(path.read_bytes()).decode())
    relative = os.path.relpath(path.resolve(), out.resolve().parent)
    return VideoPart(
        quote(Path(relative).as_posix()), f"The video is {relative}, beside this file: keep both."
    )
