"""The folder of a bench: cells as they come, and at the end bench.json, bench.csv and table.md."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.bench.cells import CELLS, CellFile
from core.bench.tables import markdown
from core.errors import InputError
from core.outputs import RunFolder, atomic_file, write_atomic
from core.schemas.bench import BenchReport

REPORT, TABLE, TEXT = "bench.json", "bench.csv", "table.md"
SCHEMA_PATH = Path(__file__).parent.parent / "schemas" / "bench.schema.json"


@contextmanager
def open_folder(out: Path | None, name: str) -> Iterator[tuple[Path, CellFile]]:
    """The folder of a bench while this process holds it, with the cells that it has.

    Cells are found by all that decides their numbers, so one folder may serve several suites: what belongs to
    another is kept, and left out of the report.

    Args:
        out: The folder; None for `runs/bench-<name>-<time>`.
        name: Of the suite.

    Raises:
        InputError: It holds something, but no cells; another process writes to it; it cannot be made.
    """
    resumes = out is not None and (out / CELLS).is_file()
    if out is not None and out.is_dir() and not resumes:
        found = sorted(entry.name for entry in out.iterdir())
        if found:
            listed = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
            problem = f"the output folder is no bench's: it holds {listed}"
            raise InputError(problem, where=str(out), hint="choose another --out")
    with (
        RunFolder.reopen(out)
        if resumes and out is not None
        else RunFolder.create(out, f"bench-{name}") as folder
    ):
        yield folder.path, CellFile(folder.path / CELLS)


def write_report(report: BenchReport, folder: Path) -> list[Path]:
    """Write bench.json, bench.csv and table.md.

    Raises:
        OutputError: One cannot be written.
    """
    write_atomic(folder / REPORT, report.model_dump_json(indent=1) + "\n")
    with atomic_file(folder / TABLE) as file:
        csv.writer(file, lineterminator="\n").writerows(_lines(report))
    write_atomic(folder / TEXT, markdown(report))
    return [folder / name for name in (REPORT, TABLE, TEXT)]


def _lines(report: BenchReport) -> Iterator[list[object]]:
    """A line for every setting, protocol and measure."""
    costs = ("retrieve_tokens", "retrieved_tokens", "window_tokens", "window_bytes", "bank_bytes", "cpu_ms")
    yield ["setting", "scripts", "protocol", "measure", "mean", "low", "high", *costs]
    for row in report.rows:
        taken = [getattr(row.costs, name) for name in costs]
        for protocol, measures in (("given", row.given), ("free", row.free)):
            for name, value in measures.items():
                told = [row.label, "; ".join(row.scripts), protocol, name, value.mean, value.low, value.high]
                yield [*told, *taken]


def load_report(path: Path) -> BenchReport:
    """Read a bench.json, or the one of a folder."""
    file = path / REPORT if path.is_dir() else path
    return BenchReport.model_validate_json(file.read_bytes())


def bench_json_schema() -> dict[str, Any]:
    """The JSON Schema of bench.json, as committed in `core/schemas/bench.schema.json`."""
    schema = BenchReport.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def write_bench_json_schema() -> None:
    """Bring the committed schema up to date after a change to `core/schemas/bench.py`."""
    write_atomic(SCHEMA_PATH, json.dumps(bench_json_schema(), indent=2) + "\n")
