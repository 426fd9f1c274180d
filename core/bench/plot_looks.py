"""What all figures of a bench share: looks of settings, axes, titles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from core.palette import GRID, INK, MODES, MUTED, STRATEGIES, Look
from core.schemas.bench import BenchReport, Interval, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MIB: Final = 1 << 20
MAIN: Final = {"given": "truth_psnr_db", "free": "gain_psnr_db"}
"""The measure that a figure shows, by protocol."""
AXIS: Final = {
    "truth_psnr_db": "returned views against the truth, PSNR (dB)",
    "gain_psnr_db": "revisit over control, PSNR (dB)",
}


def look_of(row: Row) -> Look:
    """Colour and marker of a setting: its strategy's, or its memory mode's."""
    mode = str(row.setting["mode"])
    return STRATEGIES[str(row.setting["strategy"])] if mode == "worldkv" else MODES[mode]


def kind_of(row: Row) -> str:
    """The word for that look."""
    mode = str(row.setting["mode"])
    return str(row.setting["strategy"]) if mode == "worldkv" else mode


def is_pruned(row: Row) -> bool:
    """Whether it keeps parts of chunks."""
    return str(row.setting["prune"]) != "none"


def error(value: Interval) -> tuple[list[float], list[float]]:
    """Distances from the mean to both ends of its interval, as matplotlib wants them."""
    return [max(0.0, value.mean - value.low)], [max(0.0, value.high - value.mean)]


def title(figure: Figure, report: BenchReport, words: str, scripts: list[str], note: str = "") -> None:
    """What a figure shows, and on what it was measured."""
    figure.suptitle(words, x=0.01, ha="left", fontsize=11, color=INK, fontweight="bold")
    last = report.first_world + report.num_worlds - 1
    below = (
        f"mini, {report.num_worlds} held-out rooms ({report.first_world} to {last}), {', '.join(scripts)}; "
        f"95% intervals over rooms{note}"
    )
    figure.axes[0].set_title(below, loc="left", fontsize=8, color=MUTED)


def dress(axes: Axes, x: str, y: str = "") -> None:
    """Labels and grid."""
    axes.set_xlabel(x, color=INK, fontsize=9)
    if y:
        axes.set_ylabel(y, color=INK, fontsize=9)
    axes.tick_params(colors=INK, labelsize=8)
    axes.grid(color=GRID, lw=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
