"""The figure of one family: curves over window and bytes, or a dot a setting, and the paired differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from core.bench.plot_looks import AXIS, MAIN, MIB, dress, error, look_of, title
from core.bench.tables import family_rows, measures_of
from core.palette import INK, MUTED, PAPER, SERIES, STRATEGIES, Look
from core.schemas.bench import BenchReport, Comparison, FamilyRecord, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST_BLUR: Final = 0.015
"""A difference in sharpness of at least this is told beside one in PSNR."""

_ROW_IN: Final = 0.27
_CURVE_IN: Final = 4.0
_DOTS_IN: Final = 4.8
_DIFFERENCES_IN: Final = 5.2
_POOLED: Final = ", pooled"


def family_figure(report: BenchReport, family: FamilyRecord) -> Figure | None:
    """The figure of a family; None if fewer than two of its settings are finished.

    Left what was measured: curves over the window and over the bank's bytes, or a dot a setting. Right the
    paired differences.
    """
    from matplotlib.figure import Figure

    protocol = family.protocols[0]
    rows = family_rows(report, family, protocol)
    if len(rows) < 2:
        return None
    given = protocol == "given"
    pairs = [c for c in report.comparisons if c.family == family.name and c.given == given]
    pairs = [c for c in pairs if MAIN[protocol] in c.differences]
    widths = [_CURVE_IN, _CURVE_IN] if family.curve else [_DOTS_IN]
    widths += [_DIFFERENCES_IN] if pairs else []
    lines = max(len(pairs), 0 if family.curve else len(rows))
    height = max(3.6 if family.curve else 1.6, lines * _ROW_IN + 1.4)
    figure = Figure(figsize=(sum(widths), height), layout="constrained")
    panels = list(figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0])
    if family.curve:
        panels[1].sharey(panels[0])
        _curves(panels[0], rows, family, protocol, "keys that a chunk attends to", _keys)
        _curves(panels[1], rows, family, protocol, "bank, peak (MiB a rollout)", _bank)
        panels[0].set_ylabel(AXIS[MAIN[protocol]], color=INK, fontsize=9)
        names = panels[0].get_legend_handles_labels()
        figure.legend(
            *names,
            loc="outside lower center",
            ncols=len(names[1]),
            frameon=False,
            fontsize=8,
            handlelength=2.8,
        )
    else:
        _dots(panels[0], rows, protocol)
    if pairs:
        _forest(panels[-1], pairs, protocol)
    title(figure, report, family.title, family.scripts)
    return figure


def _keys(row: Row) -> float:
    return float(row.costs.window_tokens)


def _bank(row: Row) -> float:
    return row.costs.bank_bytes / MIB


def _curves(
    axes: Axes, rows: Sequence[Row], family: FamilyRecord, protocol: str, x: str, cost: Callable[[Row], float]
) -> None:
    """A line for each value of `family.by`, along the number of retrieved tokens."""
    lines: dict[str, list[Row]] = {}
    for row in rows:
        lines.setdefault(_series(row, family.by), []).append(row)
    plain = list(dict.fromkeys(name.removesuffix(_POOLED) for name in lines))
    for name, some in lines.items():
        number = plain.index(name.removesuffix(_POOLED))
        strategy, _, bank = name.partition(", ")
        packed = bank in ("int8", "int4")
        plainly = strategy in STRATEGIES and (packed or not bank)
        look = STRATEGIES[strategy] if plainly else SERIES[number % len(SERIES)]
        hollow = packed or name.endswith(_POOLED)
        ordered = sorted(some, key=lambda row: row.costs.retrieve_tokens)
        values = [measures_of(row, protocol)[MAIN[protocol]] for row in ordered]
        at = [cost(row) for row in ordered]
        _line(axes, at, [value.mean for value in values], look, name, hollow=hollow)
        for place, value in zip(at, values, strict=True):
            axes.errorbar([place], [value.mean], yerr=error(value), color=look.colour, lw=0.9, capsize=2)
        for place, value, row in zip(at, values, ordered, strict=True):
            axes.annotate(
                str(row.costs.retrieve_tokens),
                (place, value.mean),
                xytext=(4, -10 if number % 2 == 0 else 5),
                textcoords="offset points",
                fontsize=6.5,
                color=look.colour,
            )
    dress(axes, x)
    axes.margins(x=0.1, y=0.12)


def _series(row: Row, by: str | None) -> str:
    """Which curve a setting belongs to."""
    setting = row.setting
    if setting["mode"] != "worldkv":
        return str(setting["mode"])
    if by in (None, "strategy"):
        pruned = "" if setting["prune"] == "none" else f", keep {setting['keep_ratio']:g} {setting['prune']}"
        order = "" if setting["order"] == "older" else f", {setting['order']} first"
        bank = "" if setting["bank"] == "native" else f", {setting['bank']}"
        return f"{setting['strategy']}{pruned}{order}{bank}" + (_POOLED if setting["pooled"] else "")
    words = f"{str(by).replace('_', ' ')} {setting[str(by)]}"
    return words + _POOLED if setting["pooled"] else words


def _line(
    axes: Axes, at: Sequence[float], values: Sequence[float], look: Look, name: str, *, hollow: bool
) -> None:
    axes.plot(
        at,
        values,
        color=look.colour,
        lw=1.6,
        ls=(0, look.dashes) if look.dashes else "-",
        marker=look.marker,
        markersize=8 if hollow else 5,
        markerfacecolor="none" if hollow else look.colour,
        label=name,
    )


def _dots(axes: Axes, rows: Sequence[Row], protocol: str) -> None:
    """A dot and its interval for each setting, the first on top."""
    for place, row in enumerate(rows):
        value, look = measures_of(row, protocol)[MAIN[protocol]], look_of(row)
        axes.errorbar(
            [value.mean],
            [place],
            xerr=error(value),
            color=look.colour,
            marker=look.marker,
            markersize=5.5,
            lw=1.2,
            capsize=2.5,
        )
        axes.annotate(
            f"{value.mean:.2f}",
            (value.high, place),
            xytext=(5, -2.5),
            textcoords="offset points",
            fontsize=7,
            color=MUTED,
        )
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    dress(axes, AXIS[MAIN[protocol]])
    axes.margins(x=0.14)


def _forest(axes: Axes, pairs: Sequence[Comparison], protocol: str) -> None:
    """Paired differences: filled where the interval leaves zero out."""
    for place, pair in enumerate(pairs):
        value = pair.differences[MAIN[protocol]]
        sure = value.low > 0 or value.high < 0
        axes.errorbar(
            [value.mean],
            [place],
            xerr=error(value),
            color=INK,
            marker="o",
            markersize=5,
            markerfacecolor=INK if sure else PAPER,
            lw=1.2,
            capsize=2.5,
        )
        axes.annotate(
            f"{value.mean:+.2f}{_blurs(pair)}",
            (value.high, place),
            xytext=(5, -2.5),
            textcoords="offset points",
            fontsize=7,
            color=MUTED,
        )
    axes.axvline(0, color=MUTED, lw=0.9)
    axes.set_yticks(range(len(pairs)), [pair.words for pair in pairs])
    axes.set_ylim(len(pairs) - 0.5, -0.5)
    dress(axes, "paired difference, PSNR (dB)")
    axes.tick_params(axis="y", labelsize=7.5)
    axes.margins(x=0.3)


def _blurs(pair: Comparison) -> str:
    """How sharpness differs, where that shows: blur raises PSNR."""
    value = pair.differences.get("sharpness")
    return f" (sharpness {value.mean:+.2f})" if value and abs(value.mean) >= LEAST_BLUR else ""
