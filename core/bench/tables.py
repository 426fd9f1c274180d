"""Tables of a bench: every setting of every family, and the paired differences; table.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from core.schemas.bench import BenchReport, FamilyRecord, Interval, Row

MIB = 1 << 20

COLUMNS = {
    "given": ("truth_psnr_db", "late_truth_psnr_db", "truth_ssim", "sharpness"),
    "free": ("self_psnr_db", "gain_psnr_db", "late_psnr_db", "sharpness"),
}
HEADS = {
    "truth_psnr_db": "against the truth, dB",
    "truth_ssim": "SSIM",
    "self_psnr_db": "revisit, dB",
    "gain_psnr_db": "over control, dB",
    "late_psnr_db": "last quarter, dB",
    "late_truth_psnr_db": "last quarter, dB",
    "sharpness": "sharpness",
}
DIGITS = {"truth_ssim": 3, "sharpness": 2, "self_ssim": 3}
WORDS = """\
*Given*: the first leg is the truth; views that it showed, when they come back, against the true world.
*Free*: only the first picture is given; revisit against first visit, and its gain over the control, frames
that look elsewhere at the same gaps. A frozen picture raises the first and not the second; blur can raise
both, so read every dB with the sharpness beside it. PSNR differences of free rows are of the gain. *Keys*:
most that a chunk attends to, its own 45 included. *Bank*: peak of stored keys and values, from the plan, mean
over scripts. *Sharpness*: gradient energy over the truth's. *GFLOP*: operations of a generated chunk in
linear layers and attention, from the plan. Intervals: 95%, bootstrap over worlds, paired for differences."""
TIMES = """\
*CPU ms*: processor time of a generated chunk and world in a single-thread worker that plays worlds side by
side; on a machine that others use, too, good for a third more or less, and what is played first tends to look
slowest."""
NO_TIMES = """\
Processor times are left out: not all cells are known to have been played on one machine with the same
versions (bench.csv has them)."""


@dataclass(frozen=True)
class Cells:
    """A table as text.

    Attributes:
        title: What it shows.
        head: Names of the columns.
        rows: Cells.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def measures_of(row: Row, protocol: str) -> Mapping[str, Interval]:
    """A row's results under a protocol."""
    return row.given if protocol == "given" else row.free


def family_rows(report: BenchReport, family: FamilyRecord, protocol: str) -> list[Row]:
    """The finished rows of a family and protocol, in the order of the suite."""
    rows = [report.row(label, family.scripts) for label in family.labels]
    return [row for row in rows if row is not None and measures_of(row, protocol)]


def family_tables(report: BenchReport, family: FamilyRecord) -> Iterator[Cells]:
    """A table for each protocol, and the differences; those without rows are left out."""
    for protocol in family.protocols:
        rows = family_rows(report, family, protocol)
        if rows:
            legs = "first leg given" if protocol == "given" else "free"
            yield _results(f"{family.title} ({legs})", rows, protocol, times=report.times_compare)
    rows_of_differences = tuple(_differences(report, family.name))
    if rows_of_differences:
        head = ("paired difference", "first leg", "PSNR, dB", "last quarter, dB", "sharpness")
        yield Cells(f"{family.title} (differences)", head, rows_of_differences)


def markdown(report: BenchReport) -> str:
    """All tables of a report as Markdown."""
    parts = [f"# Bench `{report.suite}`", what(report), WORDS, TIMES if report.times_compare else NO_TIMES]
    for family in report.families:
        for number, table in enumerate(family_tables(report, family)):
            if number == 0:
                parts += [f"## {family.title}", f"Scripts: {', '.join(family.scripts)}."]
            parts += ["\n".join(_markdown_lines(table))]
    return "\n\n".join(parts) + "\n"


def what(report: BenchReport) -> str:
    """Where the numbers come from, in a sentence."""
    last = report.first_world + report.num_worlds - 1
    left = f" Unfinished: {report.cells_done} of {report.cells_total} cells."
    return (
        f"Held-out worlds {report.first_world} to {last}, the same noise in all settings; mini, float32, one "
        f"thread a worker{_machines(report)}. Made by `{report.command}`."
        f"{'' if report.status == 'done' else left}"
    )


def _machines(report: BenchReport) -> str:
    """Where the cells were played."""
    if not report.machines:
        return ""
    told = []
    for each in report.machines:
        machine = each.machine
        named = (
            "a machine that they do not name"
            if machine is None
            else f"{machine.processor} (torch {machine.versions.get('torch', 'unknown')})"
        )
        told.append(named if report.times_compare else f"{each.cells} cells on {named}")
    return (" on " if report.times_compare else "; ") + ", ".join(told)


def spread(value: Interval, digits: int = 2) -> str:
    """Mean and half-width of the interval."""
    return f"{value.mean:.{digits}f} ±{(value.high - value.low) / 2:.{digits}f}"


def signed(value: Interval | None, digits: int = 2) -> str:
    """Difference and interval; a dash for none."""
    if value is None:
        return "-"
    return f"{value.mean:+.{digits}f} ({value.low:+.{digits}f} to {value.high:+.{digits}f})"


def _results(title: str, rows: Sequence[Row], protocol: str, *, times: bool) -> Cells:
    names = [name for name in COLUMNS[protocol] if all(name in measures_of(row, protocol) for row in rows)]
    head = ["setting", "keys", "bank, MiB", "window + bank, MiB", *(HEADS[name] for name in names)]
    head += ["GFLOP", "CPU ms"] if times else ["GFLOP"]
    return Cells(title, tuple(head), tuple(tuple(_result(row, names, protocol, times=times)) for row in rows))


def _result(row: Row, names: Sequence[str], protocol: str, *, times: bool) -> Iterator[str]:
    told, costs = measures_of(row, protocol), row.costs
    yield row.label
    yield str(costs.window_tokens)
    yield f"{costs.bank_bytes / MIB:.2f}"
    yield f"{costs.kv_bytes / MIB:.2f}"
    for name in names:
        yield spread(told[name], DIGITS.get(name, 2))
    yield f"{costs.operations / 1e9:.2f}"
    if times:
        yield f"{costs.cpu_ms:.0f}"


def _differences(report: BenchReport, family: str) -> Iterator[tuple[str, ...]]:
    for each in report.comparisons:
        if each.family == family:
            told = each.differences
            yield (
                each.words,
                "given" if each.given else "free",
                signed(told.get("truth_psnr_db" if each.given else "gain_psnr_db")),
                signed(told.get("late_truth_psnr_db" if each.given else "late_psnr_db")),
                signed(told.get("sharpness")),
            )


def _markdown_lines(table: Cells) -> Iterator[str]:
    for cells in (table.head, ("---",) * len(table.head), *table.rows):
        yield "| " + " | ".join(cells) + " |"
