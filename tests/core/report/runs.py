"""Run folders for reports: one real rollout, and logs as long as one likes without any."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from core.config import GenerateConfig, resolve
from core.generate import prepare
from core.runlog import ChunkLog, read_chunks, write_run
from core.schemas.run import ChunkRecord, RetrievedChunk, RunSummary, StageMs, TierBytes
from core.video.writer import Mp4Writer
from core.viewlog import ViewLog, chunk_view
from tests.core.memory.policy.cameras import viewpoints, yaw_c2w

SCRIPT = """
version: 1
name: {name}
fps: 16
steps:
  - mark: home
  - turn: {{yaw_deg: 180}}
  - return_to: {{mark: home, path: retrace}}
"""
NASTY = "</script><script>alert(1)</script> & 'quoted'"


def real_run(folder: Path, *, name: str = "there-and-back", **settings) -> Path:
    """A small rollout of the embedded model that returns to where it was."""
    folder.mkdir(parents=True)
    (folder / "script.yaml").write_text(SCRIPT.format(name=repr(name)))
    wanted = {"traj": str(folder / "script.yaml"), "out": folder / "run", "scale": 2, **settings}
    flags = {key: value for key, value in wanted.items() if key not in ("strategy",) or value}
    prepare(resolve(flags, {})).run()
    return folder / "run"


def chunk_record(chunk: int, *, recalled: tuple[int, ...] = (), frames: int = 12) -> ChunkRecord:
    """A chunk of a LingBot-sized run."""
    return ChunkRecord(
        chunk=chunk,
        first_frame=max(0, frames * chunk - 3),
        num_frames=frames if chunk else frames - 3,
        retrieved=tuple(
            RetrievedChunk(chunk=c, tokens=90, tier="host", score=0.1, overlap=0.7) for c in recalled
        ),
        hits=len(recalled),
        misses=chunk % 3,
        tokens_kept=6,
        tokens_dropped=30,
        window_tokens=200,
        ms=StageMs(retrieve=5, denoise=400 + chunk % 7, commit=80, decode=60, write=20),
        wall_ms=580,
        bank_bytes=TierBytes(device=chunk << 10, host=chunk << 12),
        device_bytes=1 << 30,
        host_bytes=2 << 30,
    )


def made_up_run(
    folder: Path, num_chunks: int, *, recalls: int = 3, record: Mapping[str, object] | None = None, **changes
) -> Path:
    """Logs of a run that nobody made: no video.

    Args:
        folder: Where to; it is made.
        num_chunks: Chunks.
        recalls: Past chunks that each recalls at most.
        record: What is otherwise in every chunk's record.
        changes: What is otherwise in run.json.
    """
    folder.mkdir()
    latent_frames = 3 * max(1, num_chunks)
    c2w = yaw_c2w(np.linspace(0.0, 720.0, latent_frames), _walk(latent_frames))
    views = viewpoints(c2w)
    counts = np.zeros(views.tokens_per_chunk, dtype=np.int64)
    counts[:6] = 2
    with ChunkLog(folder / "chunks.jsonl") as log, ViewLog(folder / "views.jsonl") as view_log:
        for chunk in range(num_chunks):
            past = tuple(range(0, chunk, max(1, chunk // recalls)))[:recalls] if chunk else ()
            made = ChunkRecord.model_validate(
                chunk_record(chunk, recalled=past).model_dump() | dict(record or {})
            )
            cameras = np.repeat(c2w[3 * chunk : 3 * chunk + 3], 4, axis=0)[: made.num_frames]
            view_log.append(chunk_view(views, chunk, cameras, counts, 4))
            log.append(made)
        totals = log.totals
    settings = {
        "name": "made-up",
        "status": "done",
        "started_at": datetime(2026, 3, 4, tzinfo=UTC),
        "seed": 3,
        "config": GenerateConfig(traj="made-up").model_dump(mode="json"),
        "config_sources": {"traj": "--traj"},
        "plan": {"memory": "worldkv", "strategy": "pose", "device_budget_bytes": 3 << 29},
        "totals": totals,
    }
    summary = RunSummary.model_validate(settings | changes)
    write_run(folder / "run.json", summary, chunks=folder / "chunks.jsonl")
    return folder


def with_video(run: Path, fps: float) -> Path:
    """A video for it: every frame is a shade of grey of its own, growing."""
    frames = sum(record.num_frames for record in read_chunks(run / "chunks.jsonl"))
    shades = np.linspace(20, 230, frames).astype(np.uint8)[:, None, None, None]
    with Mp4Writer(run / "video.mp4", 64, 48, fps, overwrite=False) as writer:
        writer.push(np.tile(shades, (1, 48, 64, 3)))
    return run


def _walk(frames: int) -> np.ndarray:
    """A spiral that climbs."""
    angle = np.linspace(0.0, 12.0, frames)
    return np.stack((angle * np.cos(angle), -0.1 * angle, angle * np.sin(angle)), axis=1)
