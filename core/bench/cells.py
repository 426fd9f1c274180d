"""Finished cells: a line each in `cells.jsonl`, found again by all that decides their numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from core.bench.suite import Task
from core.errors import InputError, OutputError
from core.schemas.bench_cell import Cell

CELLS = "cells.jsonl"

ENGINE_VERSION = 1
"""Raise it whenever the same setting, script, world and weights would give other numbers."""


def task_key(task: Task, weights_sha256: str) -> str:
    """Hash of everything that decides a cell's numbers."""
    told = {
        "setting": dict(task.setting.key),
        "script": asdict(task.script),
        "given": task.given,
        "worlds": [task.first_world, task.num_worlds],
        "weights": weights_sha256,
        "engine": ENGINE_VERSION,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:24]


class CellFile:
    """The finished cells of a folder; a line is written at once, so that a crash loses at most one.

    Args:
        path: The file; made with the first cell.

    Raises:
        InputError: A line is no cell (a torn last one is cut off).
        OutputError: It cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found = _read(path)

    @property
    def cells(self) -> Mapping[str, Cell]:
        """By key."""
        return self._found

    def append(self, cell: Cell) -> None:
        """Note a finished cell."""
        line = cell.model_dump_json() + "\n"
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        self._found[cell.key] = cell


def _read(path: Path) -> dict[str, Cell]:
    try:
        with path.open("rb+") as file:
            return _lines(file, path)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _unwritable(path, error) from error


def _lines(file: IO[bytes], path: Path) -> dict[str, Cell]:
    found: dict[str, Cell] = {}
    whole = 0
    for number, line in enumerate(file, 1):
        if not line.endswith(b"\n"):
            file.truncate(whole)
            break
        whole += len(line)
        try:
            cell = Cell.model_validate_json(line)
        except ValidationError as error:
            first = str(error).splitlines()[0]
            raise InputError(
                f"this is no cell of a bench: {first}",
                where=f"{path}:{number}",
                hint="choose another --out, or delete the line",
            ) from None
        found[cell.key] = cell
    return found


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(f"finished cells cannot be kept: {error.strerror}", where=str(path))
