"""Fidelity against bytes in the bank, keys in the window and operations: every setting a point.

Operations stand for time: times were taken beside other work, and differ by a third with the order of play.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from core.bench.plot_looks import AXIS, MAIN, MIB, dress, error, is_pruned, kind_of, look_of, title
from core.palette import INK, MUTED, PAPER
from core.schemas.bench import BenchReport, Interval, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN_DB: Final = 4.0
"""Below the best by more than this, a setting is a mark at the lower edge with its value."""

LINE_DB: Final = 0.15
"""Height of a line of text."""

_PANEL_IN: Final = (5.4, 4.2)


class _Point(NamedTuple):
    row: Row
    cost: float
    value: Interval
    sharpness: Interval | None


Cost = Callable[[Row], float]
COSTS: Final[tuple[tuple[str, Cost], ...]] = (
    ("bank, peak (MiB a rollout; only what retrieves has one)", lambda row: row.costs.bank_bytes / MIB),
    ("window and bank (MiB a rollout)", lambda row: row.costs.kv_bytes / MIB),
    ("keys that a chunk attends to", lambda row: float(row.costs.window_tokens)),
    ("operations of a generated chunk (billions, from the plan)", lambda row: row.costs.operations / 1e9),
)


def pareto_figure(report: BenchReport) -> Figure | None:
    """A panel for each cost, of the scripts that most settings have played; None if no two have."""
    from matplotlib.figure import Figure

    if not report.rows:
        return None
    groups = Counter(tuple(row.scripts) for row in report.rows if row.given or row.free)
    scripts = list(groups.most_common(1)[0][0])
    rows = [row for row in report.rows if row.scripts == scripts]
    protocol = "given" if any(row.given for row in rows) else "free"
    measure = MAIN[protocol]
    told = [(row, row.given if protocol == "given" else row.free) for row in rows]
    panels = []
    for name, cost in COSTS:
        points = [
            _Point(row, cost(row), values[measure], values.get("sharpness"))
            for row, values in told
            if measure in values and cost(row)
        ]
        if len(points) > 1:
            panels.append((name, points))
    if not panels:
        return None
    lines = -(-len(panels) // 2)
    figure = Figure(figsize=(2 * _PANEL_IN[0], lines * _PANEL_IN[1]), layout="constrained")
    axes = figure.subplots(lines, 2, squeeze=False, sharey=True).ravel()
    for spare in axes[len(panels) :]:
        spare.set_visible(False)
    best = max(point.value.mean for _, points in panels for point in points)
    for number, (name, points) in enumerate(panels):
        _panel(axes[number], points, best - SHOWN_DB)
        dress(axes[number], name, AXIS[measure] if number % 2 == 0 else "")
    highest = max(point.value.high for _, points in panels for point in points)
    axes[0].set_ylim(best - SHOWN_DB - 0.35, highest + 4 * LINE_DB)
    _legend(figure, [point for _, points in panels for point in points])
    title(
        figure,
        report,
        "What is remembered, against what it costs",
        scripts,
        "; in brackets sharpness, for blur raises PSNR",
    )
    return figure


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that no other beats in both: lower first, higher second; by rising cost."""
    kept: list[int] = []
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not kept or points[index][1] > points[kept[-1]][1]:
            kept.append(index)
    return kept


def _panel(axes: Axes, points: Sequence[_Point], floor: float) -> None:
    best = [points[i] for i in front([(point.cost, point.value.mean) for point in points])]
    for point in points:
        look = look_of(point.row)
        face = PAPER if is_pruned(point.row) else look.colour
        below = point.value.mean < floor
        axes.plot(
            point.cost,
            floor - 0.1 if below else point.value.mean,
            marker="v" if below else look.marker,
            markersize=5.5,
            color=look.colour,
            markerfacecolor=face,
            ls="",
        )
        if below:
            name = f"{point.row.label}, " if point in best else ""
            side = ("right", "left")[best.index(point) % 2] if name else "center"
            _note(axes, f"{name}{point.value.mean:.1f}", (point.cost, floor - 0.1), side)
        else:
            at, value = [point.cost], point.value
            axes.errorbar(
                at, [value.mean], yerr=error(value), color=look.colour, lw=0.9, capsize=2, zorder=1.5
            )
    axes.plot(
        [point.cost for point in best],
        [point.value.mean for point in best],
        color=INK,
        lw=1.1,
        ls=(0, (1.0, 1.5)),
        zorder=1,
    )
    _name(axes, [point for point in best if point.value.mean >= floor])
    axes.margins(x=0.14)


def _name(axes: Axes, points: Sequence[_Point]) -> None:
    """Labels above the intervals, towards the middle, each a line above what it would run into."""
    middle = sum(axes.get_xlim()) / 2
    taken: list[float] = []
    for point in sorted(points, key=lambda each: each.value.high):
        height = point.value.high + 0.04
        while any(abs(height - other) < LINE_DB for other in taken):
            height += 0.02
        taken.append(height)
        side = "left" if point.cost < middle else "right"
        at = (point.cost, height)
        axes.annotate(_label(point), at, fontsize=7, color=INK, ha=side, va="bottom")


def _label(point: _Point) -> str:
    """A setting, and how sharp what it shows is."""
    return point.row.label + (f" ({point.sharpness.mean:.2f})" if point.sharpness else "")


def _note(axes: Axes, words: str, at: tuple[float, float], side: str) -> None:
    """What a mark at the lower edge stands for."""
    axes.annotate(words, at, xytext=(0, -9), textcoords="offset points", fontsize=6, color=MUTED, ha=side)


def _legend(figure: Figure, points: Sequence[_Point]) -> None:
    from matplotlib.lines import Line2D

    shown = {kind_of(point.row): look_of(point.row) for point in points}
    handles = [
        Line2D([], [], color=look.colour, marker=look.marker, ls="", markersize=6, label=kind)
        for kind, look in shown.items()
    ]
    handles += [
        Line2D([], [], color=INK, marker="o", markerfacecolor=PAPER, ls="", markersize=6, label="pruned"),
        Line2D([], [], color=INK, lw=1.1, ls=(0, (1.0, 1.5)), label="not dominated"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=8)
