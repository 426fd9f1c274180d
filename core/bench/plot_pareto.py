"""Fidelity against bytes in the bank, keys in the window and time: every setting a point."""

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

_PANEL_IN: Final = (4.2, 4.3)


class _Point(NamedTuple):
    row: Row
    cost: float
    value: Interval


Cost = Callable[[Row], float]
COSTS: Final[tuple[tuple[str, Cost], ...]] = (
    ("bank, peak (MiB a rollout)", lambda row: row.costs.bank_bytes / MIB),
    ("window and bank (MiB a rollout)", lambda row: row.costs.kv_bytes / MIB),
    ("keys that a chunk attends to", lambda row: float(row.costs.window_tokens)),
    ("processor time (ms a chunk, one thread)", lambda row: row.costs.cpu_ms),
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
        points = [_Point(row, cost(row), values[measure]) for row, values in told if measure in values]
        if len(points) > 1:
            panels.append((name, points))
    if not panels:
        return None
    figure = Figure(figsize=(_PANEL_IN[0] * len(panels), _PANEL_IN[1]), layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0.05, 1, 0.95))  # type: ignore[union-attr, call-arg]
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    best = max(point.value.mean for _, points in panels for point in points)
    for panel, (name, points) in zip(axes, panels, strict=True):
        _panel(panel, points, best - SHOWN_DB)
        dress(panel, name, AXIS[measure] if panel is axes[0] else "")
    axes[0].set_ylim(best - SHOWN_DB - 0.35, best + 0.5)
    _legend(figure, [point for _, points in panels for point in points])
    title(figure, report, "What is remembered, against what it costs", scripts)
    return figure


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that no other beats in both: lower first, higher second; by rising cost."""
    kept: list[int] = []
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not kept or points[index][1] > points[kept[-1]][1]:
            kept.append(index)
    return kept


def _panel(axes: Axes, points: Sequence[_Point], floor: float) -> None:
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
            _note(axes, f"{point.value.mean:.1f}", (point.cost, floor - 0.1))
        else:
            at, value = [point.cost], point.value
            axes.errorbar(
                at, [value.mean], yerr=error(value), color=look.colour, lw=0.9, capsize=2, zorder=1.5
            )
    shown = [point for point in points if point.value.mean >= floor]
    best = [shown[i] for i in front([(point.cost, point.value.mean) for point in shown])]
    axes.plot(
        [point.cost for point in best],
        [point.value.mean for point in best],
        color=INK,
        lw=1.1,
        ls=(0, (1.0, 1.5)),
        zorder=1,
    )
    for number, point in enumerate(best):
        axes.annotate(
            point.row.label,
            (point.cost, point.value.mean),
            xytext=(4, 9 if number % 2 == 0 else -13),
            textcoords="offset points",
            fontsize=6.5,
            color=INK,
        )
    axes.margins(x=0.1)


def _note(axes: Axes, words: str, at: tuple[float, float]) -> None:
    """What a mark at the lower edge stands for."""
    axes.annotate(words, at, xytext=(0, -9), textcoords="offset points", fontsize=6, color=MUTED, ha="center")


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
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), frameon=False, fontsize=8)
