"""Milliseconds of every stage by chunk, and frames a second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Float64

from core.palette import STAGES
from core.report.series import Columns, by_chunk
from core.report.svg import Chart, Fill
from core.schemas.run import ChunkRecord

SHOWN: Final = ("denoise", "commit", "retrieve", "decode", "write")
"""From the bottom: the largest first."""

MOST_SHARE: Final = 0.98
"""Of the chunks, whose time sets the height of the figure: a hiccup would flatten all others."""


def speed_figures(chunks: Sequence[ChunkRecord], colour: str) -> list[tuple[str, str]]:
    """Figures with their captions; none if no time was measured."""
    if not any(record.wall_ms for record in chunks):
        return []
    return [_fps_figure(chunks, colour), _stages_figure(chunks)]


def chunk_ms(chunks: Sequence[ChunkRecord]) -> Float64[np.ndarray, " chunks"]:
    """End to end time of every chunk."""
    return by_chunk(chunks, lambda record: record.wall_ms)


def _fps_figure(chunks: Sequence[ChunkRecord], colour: str) -> tuple[str, str]:
    columns = Columns.of(len(chunks))
    frames = columns.mean(by_chunk(chunks, lambda record: record.num_frames))
    wall = columns.mean(chunk_ms(chunks))
    denoise = columns.mean(by_chunk(chunks, lambda record: record.ms.denoise))
    whole = _rate(frames, wall)
    alone = _rate(frames, np.where(denoise > 0, denoise, np.nan))
    top = float(np.nanmax([np.nanmax(whole), *(alone[~np.isnan(alone)] if len(alone) else [])]))
    chart = Chart(
        "Frames a second by chunk",
        f"End to end between {np.nanmin(whole):.3g} and {np.nanmax(whole):.3g} video frames a second.",
        (0, len(chunks)),
        (0, 1.12 * top),
        y_label="frames / s",
        height=140,
        unit="chunk",
        margins=(64, 14, 18, 12),
    )
    x = columns.middles
    chart.line(list(zip(x, alone.tolist(), strict=True)), "var(--muted)", width=1.4, dashes="5 4")
    chart.line(list(zip(x, whole.tolist(), strict=True)), colour, width=2.2)
    return chart.svg(), "Video frames a second: end to end (line), and of denoising alone (dashed)."


def _stages_figure(chunks: Sequence[ChunkRecord]) -> tuple[str, str]:
    columns = Columns.of(len(chunks))
    parts = {
        stage: columns.mean(by_chunk(chunks, lambda record, stage=stage: getattr(record.ms, stage)))  # type: ignore[misc]
        for stage in SHOWN
    }
    total = np.sum(list(parts.values()), axis=0)
    top = float(np.quantile(total, MOST_SHARE)) * 1.15 or 1.0
    chart = Chart(
        "Milliseconds of every stage by chunk",
        ", ".join(f"{stage} {values.mean():.3g} ms" for stage, values in parts.items()) + " on average.",
        (0, len(chunks)),
        (0, top),
        x_label="chunk",
        y_label="ms a chunk",
        height=220,
        unit="chunk",
    )
    low = np.zeros(len(columns.starts))
    for stage, values in parts.items():
        high = low + values
        look = STAGES[stage]
        bottom, tip = np.minimum(low, top).tolist(), np.minimum(high, top).tolist()
        chart.bars(columns.edges, bottom, tip, Fill(f"var(--stage-{stage})", look.hatch))
        low = high
    warm = sum(record.warm_up for record in chunks)
    cut = int((total > top).sum())
    notes = [f"{warm} warm-up chunks are in the figure, but not in the mean at the top." if warm else ""]
    notes.append(f"Taller than the figure: {cut} of {len(total)} columns." if cut else "")
    notes.append(columns.note)
    return chart.svg(), " ".join(["What a chunk's time goes to.", *filter(None, notes)])


def _rate(frames: Float64[np.ndarray, " n"], ms: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    return np.where(ms > 0, 1e3 * frames / np.where(ms > 0, ms, 1.0), np.nan)
