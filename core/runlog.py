"""What a run leaves behind in numbers: one record a chunk while it runs, and run.json at the end.

    chunks.jsonl  one ChunkRecord a line, flushed, so that a crash loses at most one
    run.json      RunLog: resolved configuration, inputs, versions, device, plan, totals, all chunk records

The log holds running totals only: memory does not grow with the rollout.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import ValidationError

from core.errors import InputError, OutputError
from core.outputs import atomic_file, write_atomic
from core.schemas.run import ChunkRecord, InputFile, RunLog, RunSummary, StageMs, Totals

logger = logging.getLogger(__name__)

SCHEMA_PATH = Path(__file__).parent / "schemas" / "run.schema.json"
DEFAULT_WARM_UP_CHUNKS = 2
"""First generated chunks, left out of rates: they pay for lazy initialisation with windows not full yet."""

_STAGES = tuple(StageMs.model_fields)


class RunningTotals:
    """Totals of the chunks seen so far, in constant memory."""

    def __init__(self) -> None:
        self._sums = Counter[str]()
        self._peaks = Counter[str]()
        self._wall_ms = self._warm_up_ms = self._timed_ms = 0.0
        self._stage_ms = dict.fromkeys(_STAGES, 0.0)

    @property
    def num_generated(self) -> int:
        """Chunks so far that were not given."""
        return self._sums["chunks"] - self._sums["given_chunks"]

    def add(self, record: ChunkRecord) -> None:
        """Count one more chunk."""
        counts = {"chunks": 1, "frames": record.num_frames, "retrieved": len(record.retrieved)}
        counts |= {"hits": record.hits, "misses": record.misses, "idle": record.idle}
        counts |= {"tokens_kept": record.tokens_kept, "tokens_dropped": record.tokens_dropped}
        self._wall_ms += record.wall_ms
        if record.given:
            counts |= {"given_chunks": 1}
        elif record.warm_up:
            counts |= {"warm_up_chunks": 1}
            self._warm_up_ms += record.wall_ms
        else:
            counts |= {"timed_chunks": 1, "timed_frames": record.num_frames}
            self._timed_ms += record.wall_ms
            for stage in _STAGES:
                self._stage_ms[stage] += getattr(record.ms, stage)
        self._sums.update(counts)
        peaks = {"max_window_tokens": record.window_tokens, "peak_bank_bytes": record.bank_bytes.total}
        peaks |= {"peak_device_bytes": record.device_bytes, "peak_host_bytes": record.host_bytes}
        self._peaks |= Counter(peaks)  # the larger of the two, key by key

    def totals(self) -> Totals:
        """The totals as run.json has them."""
        timed = max(1, self._sums["timed_chunks"])
        return Totals(
            **self._sums,
            **self._peaks,
            wall_s=self._wall_ms / 1e3,
            warm_up_s=self._warm_up_ms / 1e3,
            timed_s=self._timed_ms / 1e3,
            mean_ms=StageMs(**{stage: ms / timed for stage, ms in self._stage_ms.items()}),
        )


class ChunkLog:
    """chunks.jsonl, as it grows.

    Args:
        path: The file; what it held is lost.
        warm_up_chunks: First generated chunks to mark as warm-up.

    Raises:
        OutputError: The file cannot be made.
    """

    def __init__(self, path: Path, *, warm_up_chunks: int = DEFAULT_WARM_UP_CHUNKS) -> None:
        self.path = path
        self._warm_up_chunks = warm_up_chunks
        self._totals = RunningTotals()
        try:
            self._file = path.open("wb", buffering=0)  # every line reaches the system at once
        except OSError as error:
            raise _unwritable(path, error) from error

    @property
    def totals(self) -> Totals:
        """Totals of the chunks so far."""
        return self._totals.totals()

    def append(self, record: ChunkRecord) -> ChunkRecord:
        """Write one more chunk; returns the record as written, with its warm-up mark.

        Raises:
            OutputError: The disk is full, for example.
        """
        warm_up = not record.given and self._totals.num_generated < self._warm_up_chunks
        record = record.model_copy(update={"warm_up": warm_up})
        try:
            self._file.write(record.model_dump_json().encode() + b"\n")
        except OSError as error:
            raise _unwritable(self.path, error) from error
        self._totals.add(record)
        return record

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> ChunkLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def write_run(path: Path, summary: RunSummary, *, chunks: Path | None = None) -> None:
    """Write run.json, whole or not at all, the chunk records copied line by line.

    Write it with `status="running"` before the first chunk, too: should the process be killed, what the run
    was remains known.

    Args:
        path: The run.json.
        summary: All but the chunk records.
        chunks: The chunks.jsonl to copy; a torn last line is left out.

    Raises:
        OutputError: It cannot be written.
    """
    head = json.dumps(summary.model_dump(mode="json"), indent=2)
    with atomic_file(path) as file:
        file.write(head.removesuffix("\n}") + ',\n  "chunks": [')
        separator = "\n    "
        for record in read_chunks(chunks) if chunks is not None else ():
            file.write(separator + record.model_dump_json())
            separator = ",\n    "
        file.write("\n  ]\n}\n")


def load_run(path: Path) -> RunLog:
    """Read the log of a run. A run that was killed has its records from chunks.jsonl.

    Args:
        path: The run folder or its run.json.

    Raises:
        InputError: There is no run log, or it is damaged.
    """
    file = path / "run.json" if path.is_dir() else path
    try:
        run = RunLog.model_validate_json(file.read_bytes())
    except FileNotFoundError as error:
        hint = "name a folder that `worldkv generate` made"
        raise InputError("there is no run log here", where=str(file), hint=hint) from error
    except OSError as error:
        raise InputError(f"the run log cannot be read: {error.strerror}", where=str(file)) from error
    except ValidationError as error:
        raise _damaged(str(file), error) from error
    chunks = file.with_name("chunks.jsonl")
    if run.status != "running" or run.chunks or not chunks.exists():
        return run
    records = tuple(read_chunks(chunks))
    return run.model_copy(update={"chunks": records, "totals": totals_of(records)})


def read_chunks(path: Path) -> Iterator[ChunkRecord]:
    """The records of a chunks.jsonl, one at a time. A last line that a crash tore is left out.

    Raises:
        InputError: The file cannot be read, or a line is no chunk record.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"the chunk log cannot be read: {error.strerror}", where=str(path)) from error
    with file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                logger.warning("%s:%d is torn and left out", path, number)
                return
            try:
                yield ChunkRecord.model_validate_json(line)
            except ValidationError as error:
                raise _damaged(f"{path}:{number}", error) from error


def totals_of(records: Iterable[ChunkRecord]) -> Totals:
    """The totals of some chunks."""
    running = RunningTotals()
    for record in records:
        running.add(record)
    return running.totals()


def hash_file(path: Path) -> InputFile:
    """Name, size and SHA-256 of a file that goes into a run.

    Raises:
        InputError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return InputFile(path=str(path), sha256=digest, size_bytes=file.tell())
    except OSError as error:
        raise InputError(f"the file cannot be read: {error.strerror}", where=str(path)) from error


def versions() -> dict[str, str]:
    """Versions of what decides the numbers of a run; imports none of it."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in ("worldkv", "torch", "numpy"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "unknown"
    return found


def run_json_schema() -> dict[str, Any]:
    """The JSON Schema of run.json, as committed in `core/schemas/run.schema.json`."""
    schema = RunLog.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def write_run_json_schema() -> None:
    """Bring the committed schema up to date after a change to `core/schemas/run.py`."""
    write_atomic(SCHEMA_PATH, json.dumps(run_json_schema(), indent=2) + "\n")


def _unwritable(path: Path, error: OSError) -> OutputError:
    hint = "free some space, or choose another --out"
    return OutputError(f"the chunk log cannot be written: {error.strerror}", where=str(path), hint=hint)


def _damaged(where: str, error: ValidationError) -> InputError:
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    if key == "schema_version":
        problem, hint = f"version {first['input']} of the run log is unknown", "a newer worldkv wrote it"
        return InputError(problem, where=where, hint=hint)
    return InputError(f"the run log is damaged: {key or 'it'}: {first['msg']}", where=where)
