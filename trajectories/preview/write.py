"""Writing plots to files."""

from __future__ import annotations

from pathlib import Path

from trajectories.errors import SourceError
from trajectories.preview.plan_view import plan_view
from trajectories.preview.png import to_image
from trajectories.preview.svg import to_svg
from trajectories.summary import Summary
from trajectories.trajectory import Trajectory

PLOT_SUFFIXES = (".svg", ".png")


def check_plot_path(path: Path) -> None:
    """Refuse a file that is neither SVG nor PNG.

    Raises:
        SourceError: Another suffix.
    """
    if path.suffix.lower() not in PLOT_SUFFIXES:
        shown = path.suffix or "no suffix"
        raise SourceError(
            f"a plot is an SVG or PNG file, got {shown}", where=str(path), hint="end its name in .svg or .png"
        )


def write_plot(trajectory: Trajectory, summary: Summary, path: Path) -> None:
    """Draw a trajectory from above; the suffix of `path` chooses SVG or PNG.

    Raises:
        SourceError: Another suffix, or the file cannot be written.
    """
    check_plot_path(path)
    drawing = plan_view(trajectory, summary)
    try:
        if path.suffix.lower() == ".svg":
            path.write_text(to_svg(drawing), encoding="utf-8")
        else:
            to_image(drawing).save(path, format="PNG", optimize=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SourceError(f"cannot write the plot: {reason}", where=str(path)) from error
