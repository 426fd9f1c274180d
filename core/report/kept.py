"""Which tokens of each chunk were stored: over the frames, and by chunk."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any, Final

import numpy as np
from jaxtyping import UInt8

from core.report.pictures import MASK_PX, data_uri, masked
from core.report.series import Columns, by_chunk, spread
from core.report.source import RunSource
from core.report.svg import Chart, Fill
from core.viewlog import WHOLE, pack_bytes

MOST_MASK_BYTES: Final = 6_000_000
"""Of masks in a file, packed; beyond that, of every n-th chunk only."""

SHOWN_CHUNKS: Final = 4


@dataclass(frozen=True)
class Shown:
    """A latent frame of a chunk whose mask is drawn."""

    chunk: int
    latent: int
    frame: int


def shown_masks(run: RunSource) -> list[Shown]:
    """Frames of some chunks, spread evenly; those first of which a part was stored."""
    if run.track is None or not run.kept:
        return []
    part = [i for i, kept in enumerate(run.kept) if kept.any() and kept.min() < WHOLE]
    some = part or [i for i, kept in enumerate(run.kept) if kept.any()]
    chosen = [some[i] for i in spread(len(some), SHOWN_CHUNKS).tolist()]
    ends, each = run.track.latent_ends, len(run.kept[0])
    return [Shown(c, j, int(ends[c * each + j])) for c in chosen for j in range(each)]


def mask_strip(run: RunSource, frames: dict[int, UInt8[np.ndarray, "height width 3"]]) -> str:
    """The chosen frames with their masks."""
    items = []
    for each in shown_masks(run):
        if each.frame not in frames:
            continue
        kept = run.kept[each.chunk][each.latent]
        share = float(kept.mean()) / WHOLE
        words = f"chunk {each.chunk}, frame {each.frame}: {share:.0%} stored"
        uri = data_uri(masked(frames[each.frame], kept), MASK_PX)
        items.append(
            f'<figure><button type="button" class="pic" data-frame="{each.frame}" '
            f'aria-label="Go to frame {each.frame}"><img src="{uri}" alt="{escape(words)}"></button>'
            f"<figcaption>{escape(words)}</figcaption></figure>"
        )
    return f'<div class="strip">{"".join(items)}</div>' if items else ""


def kept_figure(run: RunSource) -> tuple[str, str] | None:
    """Share of each chunk's tokens that were stored."""
    totals = run.log.totals
    if not totals.tokens_kept:
        return None
    columns = Columns.of(len(run.chunks))
    share = columns.mean(
        by_chunk(run.chunks, lambda r: r.tokens_kept / max(1, r.tokens_kept + r.tokens_dropped))
    )
    chart = Chart(
        "Stored share of every chunk",
        f"{totals.tokens_kept:,} of {totals.tokens_kept + totals.tokens_dropped:,} tokens were stored.",
        (0, len(run.chunks)),
        (0, 100),
        x_label="chunk",
        y_label="stored, %",
        height=150,
        unit="chunk",
    )
    bars = (100 * share).tolist()
    chart.bars(columns.edges, [0.0] * len(bars), bars, Fill("var(--tier-device)"))
    caption = f"Share of each chunk's tokens that were put into the bank. {columns.note}"
    return chart.svg(), f"{caption} What no later chunk will recall is never stored."


def mask_data(run: RunSource) -> tuple[dict[str, Any] | None, str]:
    """Masks for the overlay on the video, and what the reader must know of them."""
    if not run.kept or not any(kept.any() for kept in run.kept):
        return None, ""
    packed = [pack_bytes(kept.tobytes()) for kept in run.kept]
    step = max(1, -(-sum(map(len, packed)) // MOST_MASK_BYTES))
    frames, rows, cols = run.kept[0].shape
    data = {"frames": frames, "rows": rows, "cols": cols, "step": step, "masks": packed[::step]}
    note = f"The overlay has the masks of every {step}th chunk, to keep this file small." if step > 1 else ""
    return data, note
