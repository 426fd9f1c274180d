"""A profile's report for people: ratios first, then times, then what is left of the hardware."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from worldkv_cli.console import human_bytes, wants_colour

if TYPE_CHECKING:
    from core.schemas.profile import CellProfile, ProfileReport, Quartiles


@dataclass(frozen=True)
class Table:
    """Rows of text under a title."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def print_report(report: ProfileReport, files: Sequence[Path]) -> None:
    """Print the report on stdout: tables of lines on a terminal, plain columns in a pipe."""
    _write(f"{_what(report)}\n")
    for table in tables(report):
        if table.rows:
            _write("\n")
            _print_table(table)
    _write("\n")
    if report.load_s:
        told = ", ".join(f"{what} {seconds:.2f} s" for what, seconds in report.load_s.items())
        _write(f"before the rollout: {told}\n")
    if report.writing is not None:
        size = f"{report.writing.width}x{report.writing.height}"
        took = f"{report.writing.frame_ms:.1f} ms a frame of {size}"
        _write(f"writing: {took}; encoding, beside the rollout: {report.writing.encoded_frame_ms:.1f} ms\n")
    if report.fit is not None:
        _write(
            f"calibration: chunk times foretold within {report.fit.median_error:.0%} (median of "
            f"{report.fit.held_out_chunks} chunks left out), at most {report.fit.largest_error:.0%}\n"
        )
    for note in report.notes:
        _write(f"note: {note}\n")
    for path in files:
        _write(f"{path}\n")


def tables(report: ProfileReport) -> Iterator[Table]:
    """All tables of a report; one without rows is left out by who prints them."""
    many = len({cell.budget_bytes for cell in report.cells}) > 1
    yield _ratio_table(report, many)
    yield _time_table(report, many)
    yield _limit_table(report, many)
    refused = [cell for cell in report.cells if cell.refused is not None]
    yield Table(
        "does not fit" + (" for real" if report.one_layer else ""),
        ("mode", "why"),
        tuple((_name(cell, many), cell.refused or "") for cell in refused),
    )


def _ratio_table(report: ProfileReport, many: bool) -> Table:
    rows = tuple(
        (
            f"{ratio.of} / {ratio.to}" + (f" ({human_bytes(ratio.budget_bytes or 0)})" if many else ""),
            str(ratio.chunks),
            _spread(ratio.value),
            _spread(ratio.cpu),
            str(ratio.value.count),
        )
        for ratio in report.ratios
    )
    return Table(
        "ratios of chunk times, paired: median (quartiles)",
        ("", "at chunk", "time", "processor time", "pairs"),
        rows,
    )


def _time_table(report: ProfileReport, many: bool) -> Table:
    rows = []
    for cell in report.cells:
        for length in cell.lengths:
            spreads = [length.stages_ms.get(stage) for stage in ("retrieve", "denoise", "commit", "decode")]
            rows.append(
                (
                    _name(cell, many),
                    str(length.chunks),
                    f"{length.window_tokens:,}",
                    *("-" if spread is None else f"{spread.median:.1f}" for spread in spreads),
                    _spread(length.chunk_ms, digits=1),
                    human_bytes(length.kv_bytes),
                )
            )
    return Table(
        "milliseconds of a chunk, medians (quartiles)",
        ("mode", "at", "keys", "retrieve", "denoise", "commit", "decode", "without decoding", "most K/V"),
        tuple(rows),
    )


def _limit_table(report: ProfileReport, many: bool) -> Table:
    rows = []
    for cell in report.cells:
        if cell.roofline is None:
            continue
        outside, largest = "-", "-"
        if cell.overhead is not None:
            outside = f"{cell.overhead.outside_share:.0%}"
            largest = ", ".join(f"{each.name} {each.share:.0%}" for each in cell.overhead.largest)
        line = cell.roofline
        rows.append(
            (
                _name(cell, many),
                f"{line.flops / 1e9:.3g}",
                human_bytes(line.read_bytes + line.moved_bytes),
                f"{line.least_ms:.1f}",
                f"{line.share:.0%}",
                outside,
                largest,
            )
        )
    rates = ""
    if report.hardware is not None:
        copied = human_bytes(report.hardware.copy_bytes_per_s)
        rates = f" ({report.hardware.flops_per_s / 1e9:,.0f} GFLOP/s, {copied}/s)"
    return Table(
        f"a late chunk against the hardware's limit{rates}",
        ("mode", "GFLOP", "bytes", "least ms", "reached", "outside products", "of it the most"),
        tuple(rows),
    )


def _what(report: ProfileReport) -> str:
    """The first line: what ran on what."""
    net = report.network
    size = ""
    if net is not None:
        width, height = net.frame_size
        size = f", {net.num_parameters / 1e6:,.1f} M parameters, {width}x{height}"
    weights = ", random weights" if report.random_weights else ""
    count = report.device.threads
    threads = f", {count} thread{'s' * (count != 1)}" if count else ""
    warm = [cell.warm_up_ms.median for cell in report.cells if cell.warm_up_ms is not None]
    warmed = f"; warm-up {max(warm):.0f} ms a chunk" if warm else ""
    return f"{report.model}{weights}{size}, {report.dtype} on {report.device.model}{threads}{warmed}"


def _name(cell: CellProfile, many: bool) -> str:
    if not many:
        return cell.mode
    return f"{cell.mode} ({'free' if cell.budget_bytes is None else human_bytes(cell.budget_bytes)})"


def _spread(value: Quartiles, digits: int = 2) -> str:
    return f"{value.median:.{digits}f} ({value.low:.{digits}f} to {value.high:.{digits}f})"


def _print_table(table: Table) -> None:
    if not sys.stdout.isatty():
        _print_plain(table)
        return
    from rich.console import Console
    from rich.table import Table as RichTable

    drawn = RichTable(title=table.title, title_justify="left", title_style="bold", header_style="dim")
    for number, column in enumerate(table.head):
        drawn.add_column(column, justify="left" if number == 0 or len(table.head) == 2 else "right")
    for row in table.rows:
        drawn.add_row(*row)
    Console(highlight=False, markup=False, no_color=not wants_colour(sys.stdout)).print(drawn)


def _print_plain(table: Table) -> None:
    """Columns with two spaces between; the first to the left, numbers to the right."""
    lines = [table.head, *table.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.head))]
    _write(f"{table.title}\n")
    for line in lines:
        cells = [
            text.ljust(width) if i == 0 or i == len(line) - 1 else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        _write("  ".join(cells).rstrip() + "\n")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
