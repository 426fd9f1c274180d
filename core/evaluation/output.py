"""What an evaluation leaves: a line a pair as CSV, and the schema of its JSON."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from core.errors import InputError, OutputError
from core.outputs import atomic_file, write_atomic
from core.schemas.eval import EvalReport, PairRecord

SCHEMA_PATH = Path(__file__).parent.parent / "schemas" / "eval.schema.json"
RUN_COLUMNS = ("folder", "group", "rollout", "model", "trajectory", "seed", "world_seed")
PAIR_COLUMNS = tuple(name for name in PairRecord.model_fields if name != "shift_px")
SHIFT_COLUMNS = ("shift_right_px", "shift_down_px")


def check_csv(path: Path) -> None:
    """Look whether the table can be written there, before the work.

    Raises:
        InputError: The folder is missing, or this is one.
    """
    if path.is_dir() or not path.absolute().parent.is_dir():
        problem = "this is a folder, not a file" if path.is_dir() else "there is no such folder"
        where = path if path.is_dir() else path.parent
        raise InputError(problem, where=f"--csv {where}", hint="name a file in a folder that exists")


def write_csv(report: EvalReport, path: Path) -> None:
    """Write a line for every pair of every run.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        with atomic_file(path) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow((*RUN_COLUMNS, *PAIR_COLUMNS, *SHIFT_COLUMNS))
            for run in report.runs:
                head = [getattr(run, column) for column in RUN_COLUMNS]
                for pair in run.pairs:
                    values = [getattr(pair, column) for column in PAIR_COLUMNS]
                    writer.writerow((*head, *values, *pair.shift_px))
    except OutputError as error:
        raise OutputError(error.problem, where=error.where, hint="choose another --csv") from None


def eval_json_schema() -> dict[str, Any]:
    """The JSON Schema of the report, as committed in `core/schemas/eval.schema.json`."""
    schema = EvalReport.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def write_eval_json_schema() -> None:
    """Bring the committed schema up to date after a change to `core/schemas/eval.py`."""
    write_atomic(SCHEMA_PATH, json.dumps(eval_json_schema(), indent=2) + "\n")
