"""Memory by chunk as measured, the peak that was predicted, and the budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from jaxtyping import Float64

from core.palette import TIERS as LOOKS
from core.report.series import Columns, by_chunk
from core.report.source import RunSource
from core.report.svg import Chart, Fill
from core.schemas.run import ChunkRecord

GIB: Final = 1 << 30
MIB: Final = 1 << 20
FAR_ABOVE: Final = 2.0
"""A budget this many times above all curves would flatten them: it is told in words."""

_MEASURED: Final[Mapping[str, str]] = {"device": "device_bytes", "host": "host_bytes"}


def memory_figures(run: RunSource) -> list[tuple[str, str]]:
    """A figure for every tier that holds something, with its caption."""
    return [found for tier in ("device", "host", "disk") if (found := _tier_figure(run, tier)) is not None]


def bank_bytes(chunks: Sequence[ChunkRecord], tier: str) -> Float64[np.ndarray, " chunks"]:
    """Bytes of the bank in a tier after every chunk."""
    return by_chunk(chunks, lambda record: getattr(record.bank_bytes, tier))


def unit_of(largest: int | float) -> tuple[str, int]:
    """GiB or MiB, whichever suits."""
    return ("GiB", GIB) if largest >= GIB else ("MiB", MIB)


def _tier_figure(run: RunSource, tier: str) -> tuple[str, str] | None:
    chunks, columns = run.chunks, Columns.of(len(run.chunks))
    field = _MEASURED.get(tier)
    measured = by_chunk(chunks, lambda r: getattr(r, field)) if field else np.zeros(len(chunks))
    held, predicted = bank_bytes(chunks, tier), int(run.log.plan.get(f"predicted_{tier}_bytes") or 0)
    if not len(chunks) or not (measured.any() or held.any()):
        return None
    largest = float(max(measured.max(), held.max(), predicted))
    budget = run.log.plan.get(f"{tier}_budget_bytes")
    unit, unit_bytes = unit_of(largest)
    top = max(largest, budget if budget and budget < FAR_ABOVE * largest else 0)
    chart = Chart(
        f"Memory: {tier}",
        f"At most {largest / unit_bytes:.3g} {unit}; the bank at most {held.max() / unit_bytes:.3g} {unit}.",
        (0, len(chunks)),
        (0, 1.15 * top / unit_bytes),
        x_label="chunk",
        y_label=f"{tier}, {unit}",
        height=200,
        unit="chunk",
    )
    colour, x = f"var(--tier-{tier})", columns.middles
    bank = (columns.largest(held) / unit_bytes).tolist()
    chart.band(x, [0.0] * len(x), bank, Fill(colour, LOOKS[tier].hatch, 0.45))
    if predicted:
        foreseen = predicted / unit_bytes
        chart.line([(0, foreseen), (len(chunks), foreseen)], colour, dashes="6 4")
    if measured.any():
        found = (columns.largest(measured) / unit_bytes).tolist()
        chart.line(list(zip(x, found, strict=True)), colour, width=2.4)
    if budget and budget < FAR_ABOVE * largest:
        chart.rule(budget / unit_bytes, f"budget {budget / unit_bytes:,.4g} {unit}", "var(--ink)")
    said = ["Area: what the bank holds there."] if held.any() else []
    said += _lines_words(tier, measured=bool(measured.any()), predicted=predicted)
    said += _budget_words(tier, budget, largest)
    return chart.svg(), " ".join([*said, columns.note]).strip()


def _lines_words(tier: str, *, measured: bool, predicted: int) -> list[str]:
    said = []
    if measured:
        what = {"device": "peak of the chunk on the device", "host": "resident memory of the process"}[tier]
        said.append(f"Line: measured, {what}.")
    if predicted:
        unit, unit_bytes = unit_of(predicted)
        said.append(f"Dashed: the peak predicted before the run, {predicted / unit_bytes:,.4g} {unit}.")
    return said


def _budget_words(tier: str, budget: int | None, largest: float) -> list[str]:
    """What the drawing leaves open about the budget.

    Args:
        tier: The tier.
        budget: Bytes; None if none was set.
        largest: Bytes of the highest curve drawn.
    """
    if budget is None:
        return ["No budget was set."] if tier != "disk" else []
    if budget < FAR_ABOVE * largest:
        return []
    unit, unit_bytes = unit_of(budget)
    return [f"The budget, {budget / unit_bytes:,.4g} {unit}, lies far above."]
