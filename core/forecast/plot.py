"""Draws a forecast: memory over time against the budgets, and beneath it who is recalled by whom."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from jaxtyping import Float64, Int64

from core.errors import InputError, OutputError
from core.forecast.make import Foretold
from core.memory.plan import MemoryPlan
from core.memory.tiers import TIERS
from core.palette import GRID, INK, MODES, MUTED, PAPER
from core.palette import TIERS as TIER_LOOKS
from core.placement import GIB

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES: Final = (".png", ".svg")
MIB: Final = 1 << 20
MOST_ARCS: Final = 400
"""That are drawn: more make a grey wall."""

ARC_POINTS: Final = 48
SIZE_IN: Final = (9.0, 6.0)
SHORT_S: Final = 180.0
"""Up to here the clock shows seconds."""


def check_plot(path: Path) -> None:
    """Look whether a plot can be made, before the work of planning.

    Raises:
        InputError: Not a kind of file that can be drawn, or matplotlib is missing.
    """
    if path.suffix.lower() not in SUFFIXES:
        kinds = " or ".join(SUFFIXES)
        raise InputError(
            f"a plot is a {kinds} file, got {path.name!r}", where="--plot", hint=f"end it in {kinds}"
        )
    if find_spec("matplotlib") is None:
        hint = 'pip install "worldkv[report]"'
        raise InputError("a plot needs the package matplotlib", where="--plot", hint=hint)


def draw_plot(told: Foretold, path: Path) -> None:
    """Draw a forecast into a file.

    Raises:
        OutputError: It cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_IN, facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    has_arcs = bool(told.forecast.retrieval.retrieving_chunks)
    grid = figure.add_gridspec(2 if has_arcs else 1, 1, height_ratios=(3, 2) if has_arcs else None)
    memory = figure.add_subplot(grid[0])
    _draw_memory(memory, told)
    if has_arcs:
        arcs = figure.add_subplot(grid[1], sharex=memory)
        _draw_arcs(arcs, told.plan)
        memory.tick_params(labelbottom=False)
        memory.set_xlabel("")
    figure.suptitle(_title(told), color=INK, fontsize=11, x=0.01, ha="left", fontweight="bold")
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        problem = f"the plot cannot be written: {error.strerror or error}"
        raise OutputError(problem, where=str(path), hint="choose another --plot") from None


def _title(told: Foretold) -> str:
    forecast = told.forecast
    verdict = "fits" if forecast.fits else "does not fit"
    chunks = f"{forecast.video.chunks:,} chunks"
    return f"{forecast.trajectory} with {forecast.model}, {forecast.memory_mode}: {chunks}, {verdict}"


def _draw_memory(axes: Axes, told: Foretold) -> None:
    """A line for each tier: what lies there all the time, and the bank on top; its budget as a dashed one."""
    memory, plan = told.forecast.memory, told.plan
    live = plan.residency.live_tokens * plan.bank_token_bytes
    chunks, top = np.arange(len(live)), 0.0
    unit, unit_bytes = ("GiB", GIB) if memory.device.predicted_bytes >= GIB else ("MiB", MIB)
    for column, tier in enumerate(TIERS):
        peak, look = getattr(memory, tier), TIER_LOOKS[tier]
        if not peak.predicted_bytes:
            continue
        steady = peak.predicted_bytes + peak.reserve_bytes - peak.parts.get("bank", 0)
        held = (steady + live[:, column]) / unit_bytes
        axes.fill_between(chunks, held, color=look.colour, alpha=0.25, linewidth=0, step="mid")
        axes.plot(chunks, held, color=look.colour, linewidth=1.8, drawstyle="steps-mid", label=tier)
        top = max(top, float(held.max()))
        if peak.budget_bytes is not None:
            budget = peak.budget_bytes / unit_bytes
            axes.axhline(budget, color=look.colour, linewidth=1.2, dashes=(4, 3))
            axes.annotate(
                f"{tier} budget {budget:,.4g} {unit}",
                (1, budget),
                xycoords=("axes fraction", "data"),
                xytext=(-4, 3),
                textcoords="offset points",
                ha="right",
                fontsize=8,
                color=INK,
            )
            top = max(top, budget)
    axes.set_ylim(0, 1.15 * top if top else 1)
    axes.set_ylabel(f"memory, {unit}", color=INK)
    axes.set_xlabel("chunk", color=INK)
    axes.set_xlim(-0.5, len(live) - 0.5)
    axes.legend(loc="upper left", fontsize=8, frameon=False, ncols=3)
    _tidy(axes)
    _add_clock(axes, told.chunk_s, told.forecast.video.seconds)


def _add_clock(axes: Axes, chunk_s: float, seconds: float) -> None:
    """The video's time along the upper edge."""
    unit, unit_s = ("minutes", 60.0) if seconds > SHORT_S else ("seconds", 1.0)
    factor = chunk_s / unit_s

    def forward(chunks: Any) -> Any:  # noqa: ANN401 - whatever matplotlib hands over
        return np.asarray(chunks) * factor

    def back(times: Any) -> Any:  # noqa: ANN401
        return np.asarray(times) / factor

    above = axes.secondary_xaxis("top", functions=(forward, back))
    above.set_xlabel(f"{unit} of video", color=MUTED, fontsize=9)
    above.tick_params(colors=MUTED, labelsize=8)
    above.spines["top"].set_color(GRID)


def _draw_arcs(axes: Axes, plan: MemoryPlan) -> None:
    """Who is recalled by whom: an arc from the past chunk to the one that retrieves it."""
    from matplotlib.collections import LineCollection

    pairs = recalls(plan)
    shown = pairs[_spread_out(len(pairs), MOST_ARCS)]
    arcs = LineCollection(
        list(_arcs(shown)),
        colors=MODES["worldkv"].colour,
        linewidths=0.7,
        alpha=float(np.clip(20 / max(len(shown), 1), 0.12, 0.6)),
    )
    axes.add_collection(arcs)
    reach = float((pairs[:, 1] - pairs[:, 0]).max()) / 2
    axes.set_ylim(0, 1.05 * reach)
    axes.set_yticks([])
    axes.set_xlabel("chunk", color=INK)
    axes.set_ylabel("recalled by", color=INK)
    count = f"{len(pairs):,}" if len(shown) == len(pairs) else f"{len(shown):,} of {len(pairs):,}"
    axes.text(0.005, 0.95, f"{count} recalls", transform=axes.transAxes, va="top", fontsize=8, color=MUTED)
    _tidy(axes)


def recalls(plan: MemoryPlan) -> Int64[np.ndarray, "recalls 2"]:
    """The recalled chunk and the one that recalls it, all of them, by the latter."""
    found = [(chosen.chunk, step.chunk) for step in plan.steps for chosen in step.selections]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _spread_out(count: int, most: int) -> Int64[np.ndarray, " shown"]:
    """Indices spread evenly, all of them if there are few."""
    if count <= most:
        return np.arange(count)
    return np.unique(np.linspace(0, count - 1, most).round().astype(np.int64))


def _arcs(pairs: Int64[np.ndarray, "shown 2"]) -> Iterator[Float64[np.ndarray, "points 2"]]:
    angle = np.linspace(0.0, np.pi, ARC_POINTS)
    for first, last in pairs.tolist():
        radius = (last - first) / 2
        yield np.stack([first + radius * (1 - np.cos(angle)), radius * np.sin(angle)], axis=1)


def _tidy(axes: Any) -> None:  # noqa: ANN401 - matplotlib is not there when types are checked
    axes.set_facecolor(PAPER)
    axes.grid(visible=True, axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GRID)
