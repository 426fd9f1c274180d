"""One table of everything: a row a job, ready for pandas.

    import pandas
    runs = pandas.read_csv("results.csv")
    runs.groupby("mode")["fidelity.psnr_db"].mean()

Columns are named as in run.json, with dots: totals.fps, fidelity.psnr_db, plan.bank_bytes.
"""

from __future__ import annotations

import csv
import importlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.batch.loader import Batch
from core.batch.schema import OWN_KEYS
from core.batch.state import JobStatus
from core.errors import InputError, OutputError
from core.outputs import write_atomic

Row = dict[str, Any]
FORMATS = (".csv", ".json", ".parquet")

_SECTIONS = ("totals", "fidelity", "plan", "video", "device")


def collect(batch: Batch, statuses: Sequence[JobStatus]) -> list[Row]:
    """A row for every job, whatever became of it; what it has not is None.

    Args:
        batch: The batch.
        statuses: Its jobs.
    """
    varied = _varied(statuses)
    rows = [_row(batch, status, varied) for status in statuses]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return [{column: row.get(column) for column in columns} for row in rows]


def write_table(rows: Sequence[Row], path: Path) -> None:
    """Write rows as CSV, JSON (a list of records) or Parquet, as the name of the file says.

    Raises:
        InputError: The name says something else, or pyarrow is missing.
        OutputError: It cannot be written.
    """
    kind = path.suffix.lower()
    if kind not in FORMATS:
        hint = f"end it with {', '.join(FORMATS)}"
        raise InputError(
            f"a table has no format {path.suffix or 'without a name'!r}", where=str(path), hint=hint
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"the folder cannot be made: {error.strerror}", where=str(path.parent)) from error
    if kind == ".parquet":
        _write_parquet(rows, path)
    else:
        write_atomic(path, table_text(rows) if kind == ".csv" else json_text(rows))


def table_text(rows: Sequence[Row]) -> str:
    """Rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def json_text(rows: Sequence[Row]) -> str:
    """Rows as a list of records, one a line."""
    return "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"


def _varied(statuses: Sequence[JobStatus]) -> list[str]:
    """Settings that are not the same in all jobs."""
    values: dict[str, set[str]] = {}
    for status in statuses:
        for key, value in status.job.resolved.config.model_dump(mode="json").items():
            values.setdefault(key, set()).add(json.dumps(value))
    return [key for key, found in values.items() if len(found) > 1 and key not in OWN_KEYS]


def _row(batch: Batch, status: JobStatus, varied: Sequence[str]) -> Row:
    job, summary = status.job, status.summary
    config = job.resolved.config.model_dump(mode="json")
    row: Row = {"job": job.name, "state": status.state, **job.labels}
    row |= _flat("config", {key: config[key] for key in varied})
    row |= {"attempts": status.num_attempts, "folder": str(job.folder.relative_to(batch.out))}
    if status.failure is not None:
        row |= {"failure": status.failure.problem}
    if summary is None or status.state not in ("done", "running"):
        return row  # an old run of other settings says nothing about this job
    data = summary.model_dump(mode="json")
    row |= {key: data[key] for key in ("started_at", "finished_at", "dtype")}
    for section in _SECTIONS:
        row |= _flat(section, data[section] or {})
    return row


def _flat(name: str, value: Any) -> Row:  # noqa: ANN401 - any JSON
    """Nested values under names with dots; lists as JSON."""
    if isinstance(value, Mapping):
        return {
            column: each
            for key, inner in value.items()
            for column, each in _flat(f"{name}.{key}", inner).items()
        }
    return {name: json.dumps(value) if isinstance(value, list) else value}


def _write_parquet(rows: Sequence[Row], path: Path) -> None:
    try:
        arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        hint = "pip install pyarrow, or write .csv or .json"
        raise InputError("Parquet needs the package pyarrow", where=str(path), hint=hint) from None
    columns = list(rows[0]) if rows else []
    table = arrow.table({column: _of_one_kind([row[column] for row in rows]) for column in columns})
    temporary = path.with_name(f".{path.name}")
    try:
        parquet.write_table(table, temporary)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path.name} cannot be written: {error.strerror}", where=str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _of_one_kind(values: Sequence[Any]) -> list[Any]:
    """A column whose values are of one kind: numbers, or text where there are several."""
    kinds = {type(value) for value in values if value is not None}
    kind = float if kinds == {int, float} else kinds.pop() if len(kinds) == 1 else str
    return [None if value is None else kind(value) for value in values]
