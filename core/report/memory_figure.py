"""Memory by chunk: measured, predicted, and the budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

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


def predicted_bytes(run: RunSource, tier: str) -> Float64[np.ndarray, " chunks"] | None:
    """What the plan foresaw for every chunk: what is always there, and what the bank then holds.

    None if the run says nothing of it, or if another process' memory is counted with it (resident memory).
    """
    plan: Mapping[str, Any] = run.log.plan
    peak = plan.get(f"predicted_{tier}_bytes")
    if not peak:
        return None
    bank = plan.get(f"bank_{tier}_bytes") or 0
    held = bank_bytes(run.chunks, tier)
    return float(peak) - float(bank) + held


def unit_of(largest: int | float) -> tuple[str, int]:
    """GiB or MiB, whichever suits."""
    return ("GiB", GIB) if largest >= GIB else ("MiB", MIB)


def _tier_figure(run: RunSource, tier: str) -> tuple[str, str] | None:
    chunks, columns = run.chunks, Columns.of(len(run.chunks))
    field = _MEASURED.get(tier)
    measured = by_chunk(chunks, lambda r: getattr(r, field)) if field else np.zeros(len(chunks))
    held, planned = bank_bytes(chunks, tier), predicted_bytes(run, tier)
    if not len(chunks) or not (measured.any() or held.any()):
        return None
    largest = float(max(measured.max(), held.max(), planned.max() if planned is not None else 0))
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
    if planned is not None:
        foreseen = (columns.largest(planned) / unit_bytes).tolist()
        chart.line(list(zip(x, foreseen, strict=True)), colour, dashes="6 4")
    if measured.any():
        found = (columns.largest(measured) / unit_bytes).tolist()
        chart.line(list(zip(x, found, strict=True)), colour, width=2.4)
    if budget and budget < FAR_ABOVE * largest:
        chart.rule(budget / unit_bytes, f"budget {budget / unit_bytes:,.4g} {unit}", "var(--ink)")
    return chart.svg(), _caption(
        run, tier, budget, measured=bool(measured.any()), planned=planned is not None
    )


def _caption(run: RunSource, tier: str, budget: int | None, *, measured: bool, planned: bool) -> str:
    said = ["Area: what the bank holds there."] if bank_bytes(run.chunks, tier).any() else []
    if measured:
        what = {"device": "peak of the chunk on the device", "host": "resident memory of the process"}[tier]
        said.append(f"Line: measured, {what}.")
    if planned:
        said.append("Dashed: predicted before the run; its pools are allocated at their peak from the start.")
    if budget is None:
        said.append("No budget was set." if tier != "disk" else "")
    elif not budget < FAR_ABOVE * max(getattr(r, _MEASURED.get(tier, "host_bytes")) for r in run.chunks):
        unit, unit_bytes = unit_of(budget)
        said.append(f"The budget, {budget / unit_bytes:,.4g} {unit}, lies far above.")
    columns = Columns.of(len(run.chunks))
    return " ".join([*said, columns.note]).strip()
