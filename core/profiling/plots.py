"""Figures of a profile: chunk time and memory against rollout length, and where a chunk's time goes."""

from __future__ import annotations

import statistics
import textwrap
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Final

from core.errors import ModelFilesError, OutputError
from core.palette import GRID, INK, MODES, MUTED, PAPER, STAGES
from core.schemas.profile import CellProfile, ChunkTimes, ProfileReport, Quartiles, Ratio

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS: Final = ("png", "svg")
EXTRA_HINT: Final = 'pip install "worldkv[report]"'
MIB: Final = 1 << 20
SMOOTHED: Final = 5
"""Neighbouring chunks over which a line is smoothed, by their median."""

FAR_APART: Final = 5.0
"""Largest ratio over smallest, from which they are drawn on a logarithmic scale."""

_PANEL_IN: Final = (5.6, 3.7)
_MANY: Final = 12  # points from which a line has no markers of its own
_TITLE_LETTERS: Final = 64  # of a line above a panel
_LABEL_GAP: Final = 0.062  # between labels at the ends of lines, as a share of the height


def can_plot() -> bool:
    """Whether the optional package is there."""
    return find_spec("matplotlib") is not None


def write_plots(report: ProfileReport, folder: Path) -> list[Path]:
    """Write all figures of a report, as PNG and SVG.

    Raises:
        ModelFilesError: matplotlib is not installed.
        OutputError: A file cannot be written.
    """
    if not can_plot():
        raise ModelFilesError("figures need matplotlib", where="matplotlib", hint=EXTRA_HINT)
    import matplotlib as mpl

    written = []
    drawings: dict[str, Callable[[ProfileReport], Figure]] = {
        "chunk-time": _time_figure,
        "memory": _memory_figure,
        "stages": _stage_figure,
    }
    if report.ratios:
        drawings = {"ratios": _ratio_figure, **drawings}
    with mpl.rc_context({"svg.hashsalt": "worldkv", "svg.fonttype": "none", "hatch.linewidth": 0.5}):
        for name, draw in drawings.items():
            figure = draw(report)
            for kind in FORMATS:
                path = folder / f"{name}.{kind}"
                metadata = {"Date": None} if kind == "svg" else None
                try:
                    figure.savefig(path, dpi=160, facecolor=PAPER, metadata=metadata)
                except OSError as error:
                    raise OutputError(
                        f"the figure cannot be written: {error.strerror}", where=str(path)
                    ) from error
                written.append(path)
    return written


def _time_figure(report: ProfileReport) -> Figure:
    budgets = _budgets(report)
    alone = report.device.threads == 1  # then others' work does not count
    figure, panels = _panels(report, "Time of a chunk against rollout length", len(budgets))
    for axes, budget in zip(panels, budgets, strict=True):
        cells = [cell for cell in report.cells if cell.budget_bytes == budget and cell.chunks]
        scale, unit = _time_unit(cells)
        ends = {
            cell.mode: _time_line(axes, cell, scale, "cpu_ms" if alone else "chunk_ms", report.every_chunk)
            for cell in cells
            if cell.lengths
        }
        what = (
            f"processor time ({unit} per chunk)"
            if alone
            else f"retrieve + denoise + commit ({unit} per chunk)"
        )
        _dress(axes, "rollout length (chunks)", what, budget)
        _name_lines(axes, ends)
    return figure


def _time_line(
    axes: Axes, cell: CellProfile, scale: float, what: str, connected: bool
) -> tuple[float, float]:
    """Draw a mode's times; returns where the line ends."""
    look, by_chunk = MODES[cell.mode], _by_chunk(cell)
    at = sorted(by_chunk)
    values = [[getattr(each, what) * scale for each in by_chunk[chunk]] for chunk in at]
    middle = _smoothed([statistics.median(some) for some in values]) if connected else None
    if middle is None:  # a point for every rollout length
        lengths = cell.lengths
        spreads: list[Quartiles] = [getattr(length, what) for length in lengths]
        middle = [each.median * scale for each in spreads]
        low = [(each.median - each.low) * scale for each in spreads]
        high = [(each.high - each.median) * scale for each in spreads]
        at = [length.chunks for length in lengths]
        axes.errorbar(at, middle, yerr=[low, high], fmt="none", ecolor=look.colour, capsize=3, lw=1)
    else:
        at = [chunk + 1 for chunk in at]
        lows, highs = (_smoothed([_quantile(some, q) for some in values]) for q in (0.25, 0.75))
        axes.fill_between(at, lows, highs, color=look.colour, alpha=0.16, lw=0)
    _line(axes, at, middle, cell.mode)
    return float(at[-1]), middle[-1]


def _memory_figure(report: ProfileReport) -> Figure:
    budgets = _budgets(report)
    figure, panels = _panels(report, "Keys and values held against rollout length", len(budgets))
    for axes, budget in zip(panels, budgets, strict=True):
        ends = {}
        for cell in report.cells:
            if cell.budget_bytes != budget or not cell.chunks:
                continue
            held = {each.chunk: each.kv_bytes for each in cell.chunks}
            at = sorted(held)
            most = list(accumulate((held[chunk] / MIB for chunk in at), max))
            _line(axes, [chunk + 1 for chunk in at], most, cell.mode)
            ends[cell.mode] = at[-1] + 1.0, most[-1]
        _dress(axes, "rollout length (chunks)", "most in use by then (MiB)", budget)
        _name_lines(axes, ends)
    return figure


def _ratio_figure(report: ProfileReport) -> Figure:
    """Ratios of pairs, the rows named; in processor time, and hollow in time."""
    budgets = list(dict.fromkeys(ratio.budget_bytes for ratio in report.ratios))
    most = max(sum(ratio.budget_bytes == budget for ratio in report.ratios) for budget in budgets)
    figure, panels = _panels(
        report, "Ratios of chunk times, paired", len(budgets), height_in=1.6 + 0.27 * most
    )
    for axes, budget in zip(panels, budgets, strict=True):
        some = [ratio for ratio in report.ratios if ratio.budget_bytes == budget][::-1]
        for row, ratio in enumerate(some):
            _spread_row(axes, row + 0.13, ratio, ratio.cpu, filled=True)
            _spread_row(axes, row - 0.17, ratio, ratio.value, filled=False)
            axes.annotate(
                f"{ratio.cpu.median:.2f}",
                (1, row),
                xycoords=("axes fraction", "data"),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=INK,
            )
        axes.axvline(1, color=INK, lw=0.9, zorder=1)
        values = [ratio.cpu.median for ratio in some]
        far = max(values) > FAR_APART * min(values)
        axes.set_yticks(range(len(some)), [f"{r.of} / {r.to}, at {r.chunks}" for r in some])
        axes.set_ylim(-0.6, len(some) - 0.4)
        _dress(
            axes, "ratio: median and quartiles; filled: processor time, hollow: time", "", budget, rows=True
        )
        if far:
            axes.set_xscale("log")
            axes.set_xticks([0.1, 0.2, 0.5, 1, 2, 5, 10], ["0.1", "0.2", "0.5", "1", "2", "5", "10"])
            axes.minorticks_off()
            axes.set_xlim(min(r.cpu.low for r in some) / 1.5, max(r.cpu.high for r in some) * 1.5)
    return figure


def _spread_row(axes: Axes, row: float, ratio: Ratio, value: Quartiles, *, filled: bool) -> None:
    look = MODES[ratio.of]
    axes.plot((value.low, value.high), (row, row), color=look.colour, lw=1.4, solid_capstyle="butt")
    inside = look.colour if filled else PAPER
    axes.plot(value.median, row, look.marker, color=look.colour, markerfacecolor=inside, markersize=5)


def _stage_figure(report: ProfileReport) -> Figure:
    budgets = _budgets(report)
    figure, panels = _panels(report, "Where the time of a late chunk goes", len(budgets))
    for axes, budget in zip(panels, budgets, strict=True):
        cells = [cell for cell in report.cells if cell.budget_bytes == budget and cell.lengths][::-1]
        scale, unit = _time_unit(cells)
        for row, cell in enumerate(cells):
            start = 0.0
            for stage, took_ms in _stages(report, cell):
                look, width = STAGES[stage], took_ms * scale
                axes.barh(
                    row,
                    width,
                    left=start,
                    height=0.62,
                    color=look.colour,
                    hatch=look.hatch,
                    edgecolor=PAPER,
                    linewidth=0.6,
                    label=stage if row == len(cells) - 1 else None,
                )
                start += width
            axes.text(start, row, f" {start:.3g}", va="center", ha="left", fontsize=8, color=INK)
            if cell.roofline is not None:
                least, first = cell.roofline.least_ms * scale, row == len(cells) - 1
                span = (row - 0.41, row + 0.41)
                axes.plot((least, least), span, color=PAPER, lw=3.6)
                axes.plot(
                    (least, least),
                    span,
                    color=INK,
                    lw=1.6,
                    label="the hardware's limit (without decode, write)" if first else None,
                )
        axes.set_yticks(range(len(cells)), [cell.mode for cell in cells])
        axes.margins(x=0.12)
        last = max((cell.lengths[-1].chunks for cell in cells), default=0)
        _dress(axes, f"median time before chunk {last} ({unit} per chunk)", "memory mode", budget, rows=True)
    return figure


def _stages(report: ProfileReport, cell: CellProfile) -> list[tuple[str, float]]:
    """Milliseconds of every stage before the last length; writing is the same in every mode."""
    took = [(stage, spread.median) for stage, spread in cell.lengths[-1].stages_ms.items()]
    return took if report.writing is None else [*took, ("write", report.writing.chunk_ms)]


def _panels(
    report: ProfileReport, title: str, count: int, *, height_in: float = _PANEL_IN[1]
) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each budget, and what was measured on what below its title."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_PANEL_IN[0] * count, height_in), layout="constrained")
    panels = figure.subplots(1, count, squeeze=False, sharey=True)[0]
    net = report.network
    size = "" if net is None else f", {net.frame_size[0]}x{net.frame_size[1]}"
    model = report.model if not report.random_weights else f"{report.model} (random weights)"
    scale = "" if report.scale == 1 else f" at scale {report.scale:g}"
    threads = f", threads: {report.device.threads}" if report.device.threads else ""
    on = f"{model}{scale}{size}, {report.dtype}, {report.device.model}{threads}"
    figure.suptitle(title, x=0.02, ha="left", fontsize=11, color=INK, fontweight="bold")
    panels[0].set_title(textwrap.fill(on, _TITLE_LETTERS), loc="left", fontsize=8, color=MUTED)
    return figure, list(panels)


def _dress(axes: Axes, x: str, y: str, budget: int | None, *, rows: bool = False) -> None:
    """Labels, grid, legend; numbers begin at zero."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel(x, color=INK, fontsize=9)
    axes.set_ylabel(y, color=INK, fontsize=9)
    axes.tick_params(colors=INK, labelsize=8)
    axes.grid(axis="x" if rows else "both", color=GRID, lw=0.7)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=not rows))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    (axes.set_xlim if rows else axes.set_ylim)(0, None)
    if budget is not None:
        axes.set_title(f"budget {budget / (1 << 30):.3g} GiB", loc="right", fontsize=8, color=MUTED)
    if rows and axes.get_legend_handles_labels()[0]:
        axes.legend(
            frameon=False,
            fontsize=8,
            handlelength=1.8,
            ncols=3,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.2),
        )


def _name_lines(axes: Axes, ends: Mapping[str, tuple[float, float]]) -> None:
    """Write every mode's name beside the end of its line, none over another."""
    top, below = axes.get_ylim()[1], -1.0
    for mode, (at, value) in sorted(ends.items(), key=lambda end: end[1][1]):
        place = max(value / top, below + _LABEL_GAP)
        below = place
        axes.plot(
            1.015, place, MODES[mode].marker, color=MODES[mode].colour, markersize=4.5,
            transform=axes.transAxes, clip_on=False,
        )  # fmt: skip
        axes.annotate(
            mode,
            (at, value),
            xytext=(1.03, place),
            textcoords="axes fraction",
            va="center",
            fontsize=8.5,
            color=INK,
            annotation_clip=False,
        )


def _line(axes: Axes, at: Sequence[int], values: Sequence[float], mode: str) -> None:
    look = MODES[mode]
    axes.plot(
        at,
        values,
        color=look.colour,
        lw=1.8,
        ls=(0, look.dashes) if look.dashes else "-",
        marker=look.marker,
        markersize=4.5,
        markevery=max(1, len(at) // _MANY),
        label=mode,
    )


def _budgets(report: ProfileReport) -> list[int | None]:
    return list(dict.fromkeys(cell.budget_bytes for cell in report.cells))


def _by_chunk(cell: CellProfile) -> dict[int, list[ChunkTimes]]:
    found = defaultdict[int, list[ChunkTimes]](list)
    for each in cell.chunks:
        if not each.warm_up:
            found[each.chunk].append(each)
    return found


def _time_unit(cells: Sequence[CellProfile]) -> tuple[float, str]:
    """Milliseconds, or seconds where they read better."""
    longest = max((length.chunk_ms.median for cell in cells for length in cell.lengths), default=0.0)
    return (1e-3, "s") if longest >= 2000 else (1.0, "ms")


def _smoothed(values: Sequence[float]) -> list[float]:
    half = SMOOTHED // 2
    return [statistics.median(values[max(0, i - half) : i + half + 1]) for i in range(len(values))]


def _quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
