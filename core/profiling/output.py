"""What a profile leaves: profile.json, profile.csv and, with matplotlib, figures."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from core.errors import InputError
from core.outputs import RunFolder, atomic_file, write_atomic
from core.profiling.settings import ProfileSettings
from core.schemas.profile import ChunkTimes, ProfileReport

REPORT, TABLE = "profile.json", "profile.csv"
SCHEMA_PATH = Path(__file__).parent.parent / "schemas" / "profile.schema.json"
CHUNK_COLUMNS = tuple(ChunkTimes.model_fields)


def open_folder(out: Path | None, settings: ProfileSettings) -> RunFolder:
    """The folder of the profile, empty; `runs/profile-<model>-<time>` by default.

    Raises:
        InputError: It holds something, or cannot be made.
    """
    if out is not None and out.is_dir():
        found = sorted(entry.name for entry in out.iterdir())
        if found:
            listed = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
            problem = f"the output folder is not empty: {listed}"
            raise InputError(problem, where=str(out), hint="choose another --out")
    return RunFolder.create(out, f"profile-{settings.model_key}")


def write_report(report: ProfileReport, folder: Path) -> list[Path]:
    """Write profile.json and profile.csv.

    Raises:
        OutputError: One cannot be written.
    """
    write_atomic(folder / REPORT, report.model_dump_json(indent=2) + "\n")
    with atomic_file(folder / TABLE) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("mode", "budget_bytes", *CHUNK_COLUMNS))
        for cell in report.cells:
            for each in cell.chunks:
                values = [getattr(each, column) for column in CHUNK_COLUMNS]
                writer.writerow((cell.mode, cell.budget_bytes, *values))
    return [folder / REPORT, folder / TABLE]


def load_report(path: Path) -> ProfileReport:
    """Read a profile.json, or the one of a folder."""
    file = path / REPORT if path.is_dir() else path
    return ProfileReport.model_validate_json(file.read_bytes())


def profile_json_schema() -> dict[str, Any]:
    """The JSON Schema of profile.json, as committed in `core/schemas/profile.schema.json`."""
    schema = ProfileReport.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def write_profile_json_schema() -> None:
    """Bring the committed schema up to date after a change to `core/schemas/profile.py`."""
    write_atomic(SCHEMA_PATH, json.dumps(profile_json_schema(), indent=2) + "\n")
