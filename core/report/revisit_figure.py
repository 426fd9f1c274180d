"""Does it hold over time? Revisits by when they happen, with the control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from core.report.revisits import Revisits, Scored
from core.report.svg import Chart, dot

TREND_POINTS: Final = 9
"""Neighbouring pairs whose median the line shows."""


@dataclass(frozen=True)
class Curve:
    """Revisits of a run as they are drawn.

    Attributes:
        name: Of the run.
        revisits: Its pairs.
        colour: A CSS colour.
        dashes: Of the line.
    """

    name: str
    revisits: Revisits
    colour: str
    dashes: str = ""


def drift_figure(curves: Sequence[Curve], num_frames: int) -> tuple[str, str]:
    """Revisit PSNR over the video's time, a curve for each run, and its control; with its caption."""
    values = [each.psnr_db for c in curves for each in (*c.revisits.pairs, *c.revisits.controls)]
    low, high = min(values), max(values)
    pad = max(1.0, 0.08 * (high - low))
    chart = Chart(
        "Revisit fidelity over time",
        "; ".join(_words(each) for each in curves),
        (0, num_frames),
        (max(0.0, low - pad), high + pad),
        x_label="video frame of the revisit",
        y_label="PSNR, dB",
        height=260,
        unit="frame",
    )
    for curve in curves:
        revisits = curve.revisits
        chart.line(_trend(revisits.controls), "var(--muted)", width=1.2, dashes="2 4")
        chart.add(*(_dot(chart, each, "var(--muted)", hollow=True) for each in revisits.controls))
        chart.line(_trend(revisits.pairs), curve.colour, width=2.4, dashes=curve.dashes)
        for number, each in enumerate(revisits.pairs):
            more = f' data-pair="{number}"' if len(curves) == 1 else ""
            chart.add(_dot(chart, each, curve.colour, more=more))
    caption = (
        "Each dot is a revisit compared with the first visit of its view; hollow dots are the control, views "
        f"of other places at matching gaps. Lines: median of {TREND_POINTS} neighbours. The gap between them "
        "is what the memory is worth."
    )
    return chart.svg(), caption


def _words(curve: Curve) -> str:
    name, revisits = curve.name, curve.revisits
    mean, control = revisits.mean_psnr_db, revisits.mean_control_db
    words = f"{name}: {len(revisits.pairs)} revisits, mean {mean:.1f} dB" if mean is not None else name
    return words + (f", control {control:.1f} dB" if control is not None else "")


def _dot(chart: Chart, each: Scored, colour: str, *, hollow: bool = False, more: str = "") -> str:
    x, y = chart.px(each.pair.later), chart.py(each.psnr_db)
    return dot(x, y, colour, radius=3.2 if hollow else 4.2, hollow=hollow, more=more)


def _trend(pairs: Sequence[Scored]) -> list[tuple[float, float]]:
    """Median over neighbours in time."""
    ordered = sorted(pairs, key=lambda each: each.pair.later)
    half = TREND_POINTS // 2
    return [
        (
            float(each.pair.later),
            float(np.median([o.psnr_db for o in ordered[max(0, i - half) : i + half + 1]])),
        )
        for i, each in enumerate(ordered)
    ]
