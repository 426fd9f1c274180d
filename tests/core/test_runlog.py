import json
import subprocess
import sys
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from core.errors import InputError, OutputError
from core.runlog import (
    SCHEMA_PATH,
    ChunkLog,
    hash_file,
    load_run,
    read_chunks,
    run_json_schema,
    totals_of,
    versions,
    write_run,
)
from core.schemas.run import ChunkRecord, RetrievedChunk, RunSummary, StageMs, TierBytes


def record(chunk: int, **changes: object) -> ChunkRecord:
    fields: dict[str, object] = {
        "chunk": chunk,
        "first_frame": 12 * chunk,
        "num_frames": 12,
        "retrieved": (RetrievedChunk(chunk=0, tokens=40, tier="device", score=0.25, overlap=0.5),),
        "hits": 2,
        "misses": 1,
        "idle": 0,
        "tokens_kept": 30,
        "tokens_dropped": 90,
        "window_tokens": 100 + chunk,
        "ms": StageMs(retrieve=1.0, denoise=300.0, commit=5.0, decode=10.0, write=2.0),
        "wall_ms": 400.0,
        "bank_bytes": TierBytes(device=10, host=1000 * chunk),
        "host_bytes": 5_000,
    }
    return ChunkRecord.model_validate(fields | changes)


def summary(**changes: object) -> RunSummary:
    fields: dict[str, object] = {
        "name": "loop",
        "status": "done",
        "started_at": datetime(2026, 1, 2, tzinfo=UTC),
        "seed": 7,
        "config": {"model": "mini", "traj": "loop", "keep_ratio": None},
        "plan": {"window_tokens": 100},
        "versions": versions(),
    }
    return RunSummary.model_validate(fields | changes)


def test_rates_come_from_the_times() -> None:
    one = record(3)
    assert one.fps == pytest.approx(30.0)
    assert one.denoise_fps == pytest.approx(40.0)
    assert record(3, wall_ms=0.0).fps is None
    assert json.loads(one.model_dump_json())["fps"] == pytest.approx(30.0)
    assert ChunkRecord.model_validate_json(one.model_dump_json()) == one


@pytest.mark.parametrize(
    "changes",
    [{"hits": -1}, {"wall_ms": float("nan")}, {"hitts": 1}, {"num_frames": 0}, {"bank_bytes": {"vram": 1}}],
)
def test_impossible_records_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        record(0, **changes)


def test_totals_leave_the_warm_up_out(tmp_path: Path) -> None:
    with ChunkLog(tmp_path / "chunks.jsonl", warm_up_chunks=2) as log:
        written = [log.append(record(chunk, wall_ms=9_000.0 if chunk < 2 else 400.0)) for chunk in range(5)]
    assert [one.warm_up for one in written] == [True, True, False, False, False]
    totals = log.totals
    assert (totals.chunks, totals.frames, totals.warm_up_chunks, totals.warm_up_s) == (5, 60, 2, 18.0)
    assert totals.fps == pytest.approx(30.0)
    assert totals.denoise_fps == pytest.approx(40.0)
    assert totals.mean_ms == StageMs(retrieve=1.0, denoise=300.0, commit=5.0, decode=10.0, write=2.0)
    assert (totals.precision, totals.recall, totals.kept_share) == (1.0, pytest.approx(2 / 3), 0.25)
    assert (totals.max_window_tokens, totals.peak_bank_bytes) == (104, 4010)
    assert totals == totals_of(written)


def test_given_chunks_are_not_timed(tmp_path: Path) -> None:
    with ChunkLog(tmp_path / "chunks.jsonl", warm_up_chunks=1) as log:
        written = [
            log.append(record(chunk, given=chunk < 3, wall_ms=50.0 if chunk < 3 else 400.0))
            for chunk in range(6)
        ]
    assert [one.warm_up for one in written] == [False, False, False, True, False, False]
    totals = log.totals
    assert (totals.given_chunks, totals.warm_up_chunks, totals.timed_chunks, totals.frames) == (3, 1, 2, 72)
    assert totals.fps == pytest.approx(30.0)
    assert totals.wall_s == pytest.approx(1.35)


def test_a_run_shorter_than_the_warm_up_has_no_rate(tmp_path: Path) -> None:
    with ChunkLog(tmp_path / "chunks.jsonl") as log:
        log.append(record(0))
    assert log.totals.fps is None
    assert log.totals.denoise_fps is None


def test_written_run_comes_back(tmp_path: Path) -> None:
    with ChunkLog(tmp_path / "chunks.jsonl") as log:
        written = tuple(log.append(record(chunk)) for chunk in range(3))
    write_run(tmp_path / "run.json", summary(totals=log.totals), chunks=log.path)
    run = load_run(tmp_path)
    assert run == load_run(tmp_path / "run.json")
    assert run.chunks == written
    assert run.totals == log.totals
    assert run.config == {"model": "mini", "traj": "loop", "keep_ratio": None}
    text = (tmp_path / "run.json").read_text()
    assert json.loads(text)["schema_version"] == 1
    assert len(text.splitlines()) < 80  # one line a chunk: a long run stays readable


def test_run_without_chunks_is_valid_json(tmp_path: Path) -> None:
    write_run(tmp_path / "run.json", summary(status="failed"))
    assert load_run(tmp_path).chunks == ()


def test_killed_process_leaves_all_finished_chunks(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from tests.core.test_runlog import *\n"
        "folder = Path(sys.argv[1])\n"
        "write_run(folder / 'run.json', summary(status='running'))\n"
        "log = ChunkLog(folder / 'chunks.jsonl')\n"
        "for chunk in range(9): log.append(record(chunk))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[2], check=False
    )
    assert done.returncode == -9
    run = load_run(tmp_path)
    assert run.status == "running"
    assert [one.chunk for one in run.chunks] == list(range(9))
    assert run.totals.chunks == 9


def test_torn_last_line_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "chunks.jsonl"
    whole = record(0).model_dump_json() + "\n" + record(1).model_dump_json() + "\n"
    for cut in (1, 20, len(whole) // 2 - 1):
        path.write_text(whole[:-cut])
        assert [one.chunk for one in read_chunks(path)] == [0]
    assert f"{path}:2 is torn and left out" in caplog.text


def test_damaged_line_names_its_place(tmp_path: Path) -> None:
    path = tmp_path / "chunks.jsonl"
    path.write_text(record(0).model_dump_json() + '\n{"chunk": "x"}\n')
    with pytest.raises(InputError, match="the run log is damaged: chunk: ") as caught:
        list(read_chunks(path))
    assert caught.value.where == f"{path}:2"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "there is no run log here"),
        ("", "the run log is damaged"),
        ("{}", "the run log is damaged: name: Field required"),
        (
            summary().model_dump_json().replace('"schema_version":1', '"schema_version":9'),
            "version 9 of the run log",
        ),
    ],
)
def test_unreadable_runs(tmp_path: Path, content: str | None, problem: str) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(InputError, match=problem) as caught:
        load_run(tmp_path)
    assert caught.value.where == str(tmp_path / "run.json")


def test_full_disk_is_an_output_error() -> None:
    with (
        ChunkLog(Path("/dev/full")) as log,
        pytest.raises(OutputError, match="No space left on device") as caught,
    ):
        log.append(record(0))
    assert caught.value.hint


def test_memory_does_not_grow_with_the_rollout(tmp_path: Path) -> None:
    one = record(5)
    with ChunkLog(tmp_path / "chunks.jsonl") as log:
        log.append(one)
        tracemalloc.start()
        for _ in range(2_000):
            log.append(one)
        grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert grown < 20_000
    assert log.totals.chunks == 2_001


def test_committed_schema_is_up_to_date() -> None:
    command = "from core.runlog import write_run_json_schema; write_run_json_schema()"
    assert json.loads(SCHEMA_PATH.read_text()) == run_json_schema(), f'run: python -c "{command}"'


def test_schema_describes_every_field() -> None:
    schema = run_json_schema()
    assert {"chunks", "config", "inputs", "versions", "device", "plan", "totals", "status"} <= set(
        schema["properties"]
    )
    record_schema = schema["$defs"]["ChunkRecord"]["properties"]
    assert {"retrieved", "hits", "misses", "idle", "ms", "fps", "denoise_fps", "host_bytes"} <= set(
        record_schema
    )


def test_hashes_inputs(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"abc")
    hashed = hash_file(tmp_path / "a.yaml")
    assert hashed.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert hashed.size_bytes == 3
    with pytest.raises(InputError, match="No such file"):
        hash_file(tmp_path / "b.yaml")


def test_versions_need_no_torch() -> None:
    code = "import sys; from core.runlog import versions; print(len(versions()), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "5 False\n"
