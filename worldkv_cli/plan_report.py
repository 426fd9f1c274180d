"""A forecast for people: the verdict first, then figures in aligned rows of at most 100 columns."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal, TextIO

from worldkv_cli.console import human_time

if TYPE_CHECKING:
    from core.schemas.forecast import BankForecast, Forecast, Peak, Refusal
    from core.schemas.run import TierBytes

WIDTH: Final = 96
LABEL: Final = 10
SPARKS: Final = 56
"""Columns of a picture of the bank over time."""

_BARS, _PLAIN_BARS = " ▁▂▃▄▅▆▇█", " .:-=+*%#"
_STYLES: Final = {"good": "bold green", "bad": "bold red", "label": "bold", "faint": "dim"}
_TIERS: Final = ("device", "host", "disk")


@dataclass(frozen=True)
class Row:
    """A line of the report.

    Attributes:
        label: What it is about; empty if it goes on with the line before.
        text: The rest.
        look: How it is shown on a terminal.
    """

    label: str
    text: str
    look: Literal["", "good", "bad", "faint"] = ""


def print_report(told: Forecast) -> None:
    """Write the report to stdout: with Rich on a terminal, plain in a pipe."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    for row in report(told, fine=_has_blocks(sys.stdout)):
        line = Text(f"{row.label:<{LABEL}}" if row.label else " " * LABEL, style=_STYLES["label"])
        line.append(row.text, style=_STYLES.get(row.look, ""))
        if row.look in ("good", "bad"):
            line = Text(f"{row.label} {row.text}", style=_STYLES[row.look])
        line.rstrip()
        console.print(line)


def report(told: Forecast, *, fine: bool = True) -> Iterator[Row]:
    """The lines of the report.

    Args:
        told: What is told.
        fine: Whether the terminal has block elements.
    """
    yield from _verdict(told)
    yield Row("", "")
    yield from _what(told)
    yield from _retrieval(told)
    if told.bank.total_bytes:
        yield from _bank(told.bank, fine=fine)
    yield Row("", "")
    yield from _peaks(told)
    yield from _rows("turned", told.turned)
    yield from _times(told)
    yield from _rows("notes", told.notes, look="faint")


def _verdict(told: Forecast) -> Iterator[Row]:
    target = told.target
    where = f"{target.device}, {target.dtype}" + ("" if target.there else ", a GPU that is not here")
    what = f"{told.video.chunks:,} chunks of {told.trajectory} with {told.model} ({where})"
    if told.refusal is None:
        yield Row("fits:", what, "good")
        return
    refusal = told.refusal
    short = f"{size(refusal.short_bytes)} of {_KINDS[refusal.short_of]} short"
    yield Row("does not fit:", f"{short}: {what}", "bad")
    yield Row("", "")
    yield from _rows("why", (refusal.problem, f"at {refusal.where}"))
    yield from _ways(refusal)


_KINDS: Final[Mapping[str, str]] = {"device": "device memory", "host": "host memory", "disk": "disk space"}


def _ways(refusal: Refusal) -> Iterator[Row]:
    ways = [f"{way.flags:<40} {f'costs {way.costs}' if way.costs else ''}".rstrip() for way in refusal.ways]
    yield from _rows("fits with", ways or ["nothing that was tried: a larger machine, or a smaller --size"])
    largest = refusal.largest
    if largest is None:
        yield Row("as asked", "not even one chunk fits")
    else:
        which = "the first chunk fits" if largest.chunks == 1 else f"the first {largest.chunks:,} chunks fit"
        yield Row("as asked", f"{which}: {largest.frames:,} frames, {human_time(largest.seconds)}")


def _what(told: Forecast) -> Iterator[Row]:
    video, memory = told.video, told.memory
    change = video.changed_frames
    fitted = (
        "" if not change else f"; {-change} cut" if change < 0 else f"; the last pose is held for {change}"
    )
    shown = f"{video.frames:,} frames, {video.width}x{video.height}, {human_time(video.seconds)}"
    yield Row("video", f"{shown} at {video.fps:g} fps{fitted}")
    window = f"{memory.window_tokens:,} tokens, {size(memory.window_bytes)}"
    kv = f"{memory.kv_bytes_per_token_layer:,} bytes a token in each of {memory.num_layers} layers"
    yield Row("window", f"{told.memory_mode}: {window} ({kv})")


def _retrieval(told: Forecast) -> Iterator[Row]:
    found = told.retrieval
    if found.strategy is None:
        if found.revisiting_chunks:
            yield Row("recall", f"none, although {found.revisiting_chunks:,} chunks see a place again")
        return
    seen = f"{found.recalled_chunks:,} of {found.revisiting_chunks:,} chunks that see a place again recall it"
    if not found.revisiting_chunks:
        seen = "no chunk sees a place again"
    useful = "" if found.precision is None else f"; {found.precision:.0%} of what is retrieved saw it"
    yield Row("recall", f"by {found.strategy}: {seen}{useful}")
    if not found.retrieving_chunks:
        return
    tokens, chunks, back = found.tokens_per_chunk, found.chunks_per_chunk, found.distance_s
    yield Row(
        "",
        f"a chunk retrieves {_range(tokens.least, tokens.most)} tokens (median {tokens.median:,.0f}) "
        f"of {_range(chunks.least, chunks.most)} chunks",
    )
    yield Row(
        "",
        f"from {human_time(back.least)} to {human_time(back.most)} back, median {human_time(back.median)}",
    )


def _bank(bank: BankForecast, *, fine: bool) -> Iterator[Row]:
    factor = bank.everything_bytes / bank.total_bytes
    precision = "" if bank.precision == "native" else f" in {bank.precision}"
    yield Row(
        "bank",
        f"{size(bank.total_bytes)}{precision}; keeping everything would take {size(bank.everything_bytes)}, "
        f"{factor:,.1f} times that",
    )
    for tier in _TIERS:
        held = getattr(bank.tiers, tier)
        if held:
            values = [getattr(moment, tier) for moment in bank.moments]
            yield Row("", f"{tier:<7}{size(held):>10}  {sparks(values, SPARKS, fine=fine)}")
    yield Row("moved", _moved("read", bank.read, bank.most_read_per_chunk))
    yield Row("", _moved("written", bank.written, None))


def _moved(verb: str, total: TierBytes, most: TierBytes | None) -> str:
    parts = []
    for tier in _TIERS:
        if getattr(total, tier):
            per_chunk = f" (at most {size(getattr(most, tier))} a chunk)" if most is not None else ""
            parts.append(f"{size(getattr(total, tier))} {tier}{per_chunk}")
    return f"{verb}: {', '.join(parts) or 'nothing'}"


def _peaks(told: Forecast) -> Iterator[Row]:
    for kind in _TIERS:
        peak: Peak = getattr(told.memory, kind)
        if kind == "device" or peak.predicted_bytes:
            yield from _peak(kind, peak)


def _peak(kind: str, peak: Peak) -> Iterator[Row]:
    needed = peak.predicted_bytes + peak.reserve_bytes
    against = "no limit"
    if peak.budget_bytes is not None:
        share = f", {needed / peak.budget_bytes:.0%}" if peak.budget_bytes else ""
        against = f"of {size(peak.budget_bytes)}{share} ({peak.budget_source})"
    parts = dict(peak.parts)
    if peak.transient_parts:
        name = max(peak.transient_parts, key=lambda part: peak.transient_parts[part])
        parts[f"{name} (comes and goes)"] = peak.transient_parts[name]
    if peak.reserve_bytes:
        parts["reserve"] = peak.reserve_bytes
    shown = sorted(((held, name) for name, held in parts.items() if held), reverse=True)
    listed = ", ".join(f"{name} {size(held)}" for held, name in shown)
    yield Row(kind, f"{size(needed):>10}  {against}")
    if sum(parts.values()) < needed:
        loading = max(peak.loading_parts, key=lambda part: peak.loading_parts[part])
        listed = f"while loading: {loading} {size(peak.loading_parts[loading])}; then {listed or 'nothing'}"
    if kind != "disk":
        yield from (Row("", line, "faint") for line in textwrap.wrap(listed, WIDTH - LABEL))


def _times(told: Forecast) -> Iterator[Row]:
    times = told.times
    if times is None:
        return
    yield Row("time", f"{human_time(times.total_s)} in all, {times.fps:.2f} frames a second")
    stages = ("load", "encode", "retrieve", "denoise", "commit", "decode", "write")
    named = ", ".join(f"{stage} {human_time(getattr(times, f'{stage}_s'))}" for stage in stages)
    yield from _rows("", (named, times.how, *times.notes), look="faint")


def _rows(label: str, texts: Iterable[str], look: Literal["", "faint"] = "") -> Iterator[Row]:
    """Texts one below another, wrapped, with the label beside the first."""
    for text in texts:
        for line in textwrap.wrap(text, WIDTH - LABEL) if len(text) > WIDTH - LABEL else [text]:
            yield Row(label, line, look)
            label = ""


def sparks(values: list[int], columns: int, *, fine: bool = True) -> str:
    """A small picture of a row of numbers from 0 up; each column shows the largest of its share."""
    bars = _BARS if fine else _PLAIN_BARS
    most, count = max(values, default=0), min(columns, len(values))
    if not most:
        return ""
    edges = [round(index * len(values) / count) for index in range(count + 1)]
    tops = [max(values[start:stop]) for start, stop in pairwise(edges)]
    return "".join(bars[-(-top * (len(bars) - 1) // most)] for top in tops)


def size(num_bytes: int) -> str:
    """A size in powers of 1,024, as budgets are given: "2.3 GiB"."""
    value, unit = float(num_bytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit in ("B", "KiB") else f"{value:,.1f} {unit}"


def _range(least: float, most: float) -> str:
    return f"{least:,.0f}" if least == most else f"{least:,.0f} to {most:,.0f}"


def _has_blocks(stream: TextIO) -> bool:
    try:
        _BARS.encode(stream.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True
