"""The folder of a bench: cells as they come, and at the end bench.json, bench.csv and table.md."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from core.bench.cells import CELLS, CellFile
from core.bench.suite import Suite
from core.bench.tables import markdown
from core.errors import InputError
from core.outputs import RunFolder, atomic_file, write_atomic
from core.schemas.bench import BenchReport

REPORT, TABLE, TEXT = "bench.json", "bench.csv", "table.md"
SCHEMA_PATH = Path(__file__).parent.parent / "schemas" / "bench.schema.json"


@contextmanager
def open_folder(out: Path | None, name: str) -> Iterator[tuple[Path, CellFile]]:
    """The folder of a bench while this process holds it, with the cells that it has.

    Cells are found by all that decides their numbers: what the suite does not need is kept, and left out of
    the report. Whether the folder tells of another suite is `told_families`' to say.

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


def told_families(folder: Path, suite: Suite) -> list[str]:
    """Names of the families that the report in a folder tells already: the next one must not lose them.

    Args:
        folder: The folder.
        suite: What is to be played there.

    Raises:
        InputError: The report is of another suite or of other worlds, and would be overwritten.
    """
    path, hint = folder / REPORT, "choose another --out: this would overwrite its tables and figures"
    try:
        told = _Told.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValidationError):
        raise InputError(
            "this is no report of a bench", where=str(path), hint="choose another --out"
        ) from None
    theirs = _called(told.suite, told.first_world, told.num_worlds)
    ours = _called(suite.name, suite.first_world, suite.num_worlds)
    if theirs != ours:
        raise InputError(
            f"the folder holds the results of {theirs}, not of {ours}", where=str(path), hint=hint
        )
    return [family.name for family in told.families]


class _ToldFamily(BaseModel):
    name: str


class _Told(BaseModel):
    """What must agree for a report to be written over another, of any version."""

    suite: str
    first_world: int
    num_worlds: int
    families: list[_ToldFamily]


def _called(suite: str, first_world: int, num_worlds: int) -> str:
    return f"suite {suite} on worlds {first_world} to {first_world + num_worlds - 1}"


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
    costs = (
        "retrieve_tokens",
        "retrieved_tokens",
        "window_tokens",
        "window_bytes",
        "bank_bytes",
        "operations",
        "cpu_ms",
    )
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
