"""Who recalls whom, and what of it was worth it: arcs over the chunks, bars beneath them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from core.palette import RECALLS
from core.report.run_data import MOST_RECALLS
from core.report.series import Columns, by_chunk, spread
from core.report.source import RunSource
from core.report.svg import Chart, Fill
from core.schemas.run import ChunkRecord

MOST_ARCS: Final = 500
"""That are drawn: more make a grey wall. The scripts add those of the current chunk, up to `MOST_RECALLS`."""

_PLOT: Final = (64.0, 12.0, 18.0, 6.0)


def timeline_figures(run: RunSource, colour: str) -> list[tuple[str, str]]:
    """Figures with their captions: recalls if there were any, and hits, misses and idle ones."""
    figures = []
    if run.log.totals.retrieved:
        figures.append(arcs_figure(run.chunks, colour))
    if run.log.totals.hits + run.log.totals.misses + run.log.totals.idle:
        figures.append(hits_figure(run.chunks))
    return figures


def arcs_figure(chunks: Sequence[ChunkRecord], colour: str) -> tuple[str, str]:
    """An arc from every recalled chunk to the one that recalls it."""
    pairs = [(each.chunk, record.chunk) for record in chunks for each in record.retrieved]
    shown = [pairs[i] for i in spread(len(pairs), MOST_ARCS).tolist()]
    reach = max(b - a for a, b in pairs)
    chart = Chart(
        "Which chunk recalls which",
        f"{len(pairs):,} recalls; the farthest is {reach:,} chunks back.",
        (0, len(chunks)),
        (0, 1),
        height=190,
        unit="chunk",
        margins=_PLOT,
        y_ticks=False,
        y_label="recalled by",
    )
    opacity = min(0.6, max(0.28, 24 / len(shown)))
    path = "".join(_arc(chart, a, b, reach) for a, b in shown)
    chart.add(f'<path class="arcs" d="{path}" style="stroke:{colour}" stroke-opacity="{opacity:.2f}"/>')
    figure = chart.svg(f'<g class="live-arcs" data-reach="{reach}"></g>')
    told = (
        f"{len(pairs):,} recalls"
        if len(shown) == len(pairs)
        else (
            f"{len(shown):,} of {len(pairs):,} recalls, spread evenly, and of the current chunk "
            f"the {MOST_RECALLS} with the most tokens"
        )
    )
    return figure, f"An arc joins a chunk to each past chunk that it recalls. Drawn: {told}."


def _arc(chart: Chart, earlier: int, later: int, reach: int) -> str:
    """Half an ellipse over the chunks' middles, as high as it reaches back."""
    a, b = chart.px(earlier + 0.5), chart.px(later + 0.5)
    high = chart.py(0) - chart.py((later - earlier) / reach * 0.98)
    return f"M{a:.1f} {chart.py(0):.1f}A{(b - a) / 2:.1f} {high:.1f} 0 0 1 {b:.1f} {chart.py(0):.1f}"


def hits_figure(chunks: Sequence[ChunkRecord]) -> tuple[str, str]:
    """Stacked bars of past chunks that overlap the view, in the window or not, and of idle recalls."""
    columns = Columns.of(len(chunks))
    parts = {
        "hit": columns.mean(by_chunk(chunks, lambda r: r.hits)),
        "miss": columns.mean(by_chunk(chunks, lambda r: r.misses)),
        "idle": columns.mean(by_chunk(chunks, lambda r: r.idle)),
    }
    top = float(max(1.0, (parts["hit"] + parts["miss"] + parts["idle"]).max()))
    sums = {name: int(sum(getattr(r, key) for r in chunks)) for name, key in _KEYS.items()}
    chart = Chart(
        "Hits, misses and idle recalls by chunk",
        f"{sums['hit']:,} hits, {sums['miss']:,} misses, {sums['idle']:,} idle.",
        (0, len(chunks)),
        (0, top * 1.05),
        x_label="chunk",
        y_label="past chunks",
        height=170,
        unit="chunk",
    )
    low = [0.0] * len(columns.starts)
    for name, values in parts.items():
        high = [a + float(b) for a, b in zip(low, values, strict=True)]
        look = RECALLS[name]
        chart.bars(columns.edges, low, high, Fill(f"var(--recall-{name})", look.hatch))
        low = high
    caption = (
        "Of the past chunks whose view overlaps the coming one: <b>hits</b> are in the window, <b>misses</b> "
        f"are not; <b>idle</b> ones were recalled and do not overlap. {columns.note}"
    )
    return chart.svg(), caption


_KEYS: Final = {"hit": "hits", "miss": "misses", "idle": "idle"}
