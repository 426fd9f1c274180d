"""Figures of a bench: fidelity against what it costs, and one figure for each family of settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from core.bench.plot_family import family_figure
from core.bench.plot_pareto import pareto_figure
from core.errors import ModelFilesError, OutputError
from core.palette import PAPER
from core.profiling.plots import EXTRA_HINT, FORMATS, can_plot
from core.schemas.bench import BenchReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 160


def write_plots(report: BenchReport, folder: Path) -> list[Path]:
    """Write all figures that the finished rows allow, as PNG and SVG.

    Raises:
        ModelFilesError: matplotlib is not installed.
        OutputError: A file cannot be written.
    """
    if not can_plot():
        raise ModelFilesError("figures need matplotlib", where="matplotlib", hint=EXTRA_HINT)
    import matplotlib as mpl

    written: list[Path] = []
    with mpl.rc_context({"svg.hashsalt": "worldkv", "svg.fonttype": "none", "hatch.linewidth": 0.5}):
        for name, draw in _drawings(report):
            figure = draw()
            if figure is not None:
                written += _save(figure, folder, name)
    return written


def _drawings(report: BenchReport) -> Iterator[tuple[str, Callable[[], Figure | None]]]:
    yield "pareto", partial(pareto_figure, report)
    for family in report.families:
        yield family.name, partial(family_figure, report, family)


def _save(figure: Figure, folder: Path, name: str) -> Iterator[Path]:
    for kind in FORMATS:
        path = folder / f"{name}.{kind}"
        try:
            figure.savefig(
                path, dpi=_DPI, facecolor=PAPER, metadata={"Date": None} if kind == "svg" else None
            )
        except OSError as error:
            raise OutputError(f"the figure cannot be written: {error.strerror}", where=str(path)) from error
        yield path
