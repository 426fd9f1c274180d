"""Fidelity of revisits over the video's time, and their gain over the controls, drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from jaxtyping import Float64

from core.errors import InputError, OutputError
from core.evaluation.groups import counted_runs
from core.palette import GRID, INK, MODES, MUTED, PAPER, Look
from core.schemas.eval import EvalReport, RunScore

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES: Final = (".png", ".svg")
BINS: Final = 10
"""Stretches of equally many pairs over which means are drawn."""

_SIZE_IN: Final = (9.6, 4.0)
_MARKERS: Final = "osD^vP*X"


@dataclass(frozen=True, eq=False)
class Curve:
    """Means over stretches of pairs, of all rollouts of a group.

    Attributes:
        x: Middle of each stretch.
        y: Mean of each.
    """

    x: Float64[np.ndarray, " bins"]
    y: Float64[np.ndarray, " bins"]


def check_plot(path: Path) -> None:
    """Look whether a plot can be made there, before the work.

    Raises:
        InputError: Not a kind of file that can be drawn, no folder for it, or matplotlib is missing.
    """
    if path.suffix.lower() not in SUFFIXES:
        kinds = " or ".join(SUFFIXES)
        raise InputError(
            f"a plot is a {kinds} file, got {path.name!r}", where="--plot", hint=f"end it in {kinds}"
        )
    if not path.absolute().parent.is_dir():
        raise InputError("there is no such folder", where=f"--plot {path.parent}", hint="make it first")
    if find_spec("matplotlib") is None:
        hint = 'pip install "worldkv[report]"'
        raise InputError("a plot needs the package matplotlib", where="--plot", hint=hint)


def draw_plot(report: EvalReport, path: Path) -> None:
    """Draw a report into a file.

    Raises:
        OutputError: It cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_IN, facecolor=PAPER, layout="constrained")
    drift, gains = figure.subplots(1, 2, width_ratios=(3, 2))
    looks = _looks(report.runs)
    _draw_drift(drift, report.runs, looks)
    _draw_gains(gains, report, looks)
    figure.suptitle(_title(report), x=0.01, ha="left", fontsize=11, color=INK, fontweight="bold")
    handles, labels = drift.get_legend_handles_labels()
    if handles:
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=min(4, -(-len(labels) // 2)),
            frameon=False,
            fontsize=8,
            handlelength=3.2,
        )
    try:
        with mpl.rc_context({"svg.hashsalt": "worldkv", "svg.fonttype": "none"}):
            metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
            figure.savefig(path, dpi=160, metadata=metadata)
    except OSError as error:
        problem = f"the plot cannot be written: {error.strerror or error}"
        raise OutputError(problem, where=str(path), hint="choose another --plot") from None


def _title(report: EvalReport) -> str:
    names = list(dict.fromkeys(run.trajectory for run in report.runs))
    models = list(dict.fromkeys(run.model for run in report.runs))
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    rollouts = len({run.rollout for run in report.runs})
    count = f", {rollouts} rollouts" if rollouts > 1 else ""
    return f"Revisits: {', '.join(models)}, {shown}{count}"


def _draw_drift(axes: Axes, runs: Sequence[RunScore], looks: Mapping[str, Look]) -> None:
    """PSNR of revisits, and of other places at the same gaps, over the video's time."""
    for group, look in looks.items():
        members = [run for run in counted_runs(runs) if run.group == group]
        for kind in ("revisit", "control"):
            points = [
                (pair.later / run.fps, pair.psnr_db)
                for run in members
                for pair in run.pairs
                if pair.kind == kind
            ]
            if not points:
                continue
            control = kind == "control"
            x, y = np.array(points).T
            axes.scatter(x, y, s=7, color=look.colour, alpha=0.12 if control else 0.22, lw=0)
            curve = binned(x, y)
            axes.plot(
                curve.x,
                curve.y,
                color=look.colour,
                lw=1.1 if control else 2.0,
                ls=(0, (1.2, 1.8)) if control else _dashes(look),
                marker=look.marker,
                markersize=3.6 if control else 5,
                markerfacecolor=PAPER if control else look.colour,
                label=f"{group}: other places (control)" if control else f"{group}: revisits",
            )
    _dress(axes, "time of the later frame (s of video)", "PSNR against the earlier frame (dB)")


def _draw_gains(axes: Axes, report: EvalReport, looks: Mapping[str, Look]) -> None:
    """How much better revisits match than other places: a point a rollout, mean and interval of a group."""
    for row, (group, look) in enumerate(looks.items()):
        runs = [run for run in counted_runs(report.runs) if run.group == group]
        gains = [run.gain.psnr_db for run in runs if run.gain is not None]
        if not gains:
            continue
        axes.scatter(gains, [row] * len(gains), s=14, color=look.colour, alpha=0.45, lw=0, zorder=3)
        mean = next(each for each in report.groups if each.group == group).estimates["gain_psnr_db"]
        axes.barh(row, mean.mean, height=0.5, color=look.colour, alpha=0.18, hatch=look.hatch, lw=0)
        axes.plot(mean.mean, row, color=look.colour, marker=look.marker, markersize=7, zorder=4)
        end = max(*gains, mean.mean, 0.0)
        if mean.low is not None and mean.high is not None:
            axes.plot((mean.low, mean.high), (row, row), color=look.colour, lw=2, zorder=4)
            end = max(end, mean.high)
        axes.annotate(
            f"{mean.mean:+.1f} dB",
            (end, row),
            xytext=(8, 0),
            textcoords="offset points",
            fontsize=8,
            color=INK,
            va="center",
        )
    axes.axvline(0, color=MUTED, lw=1)
    axes.set_yticks(range(len(looks)), list(looks))
    axes.set_ylim(len(looks) - 0.4, -0.6)
    axes.margins(x=0.18)
    many = max((group.rollouts for group in report.groups), default=1) > 1
    what = "mean, 95% interval, a point for every rollout" if many else "one rollout: no interval"
    axes.set_title(what, loc="left", fontsize=8, color=MUTED)
    _dress(axes, "gain of revisits over controls (dB)", "")
    axes.grid(visible=False, axis="y")


def binned(x: Float64[np.ndarray, " n"], y: Float64[np.ndarray, " n"], bins: int = BINS) -> Curve:
    """Means over stretches of about equally many points, by x; points of one x stay together."""
    edges = np.unique(np.quantile(x, np.linspace(0, 1, bins + 1)[1:-1]))
    part = np.searchsorted(edges, x, side="right")
    means = [(x[part == i].mean(), y[part == i].mean()) for i in np.unique(part)]
    at, value = np.array(means).T
    return Curve(at, value)


def _looks(runs: Sequence[RunScore]) -> dict[str, Look]:
    """Colour and marker of every group: those of its memory mode, paler for every further one of a mode."""
    looks: dict[str, Look] = {}
    used: dict[str, int] = {}
    for run in runs:
        if run.group in looks:
            continue
        base, number = MODES[run.memory], used.get(run.memory, 0)
        used[run.memory] = number + 1
        marker = base.marker if number == 0 else _MARKERS[(_MARKERS.index(base.marker) + number) % 8]
        looks[run.group] = Look(_paler(base.colour, number), marker, base.dashes)
    return looks


def _paler(colour: str, steps: int) -> str:
    keep = 0.65**steps
    channels = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 - (255 - channel) * keep):02x}" for channel in channels)


def _dashes(look: Look) -> str | tuple[int, tuple[float, ...]]:
    return (0, look.dashes) if look.dashes else "-"


def _dress(axes: Axes, x: str, y: str) -> None:
    axes.set_facecolor(PAPER)
    axes.set_xlabel(x, color=INK, fontsize=9)
    axes.set_ylabel(y, color=INK, fontsize=9)
    axes.tick_params(colors=INK, labelsize=8)
    axes.grid(visible=True, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
