"""What the scripts of a page know of a run."""

from __future__ import annotations

from typing import Any, Final

from core.report.source import RunSource

MOST_RECALLS: Final = 24
"""Of a chunk, those with the most tokens: what the scripts draw and name."""


def run_data(run: RunSource) -> dict[str, Any]:
    """Starts of chunks, what each recalls, and what is said of the current one."""
    chunks = run.chunks
    return {
        "starts": [record.first_frame for record in chunks] or [0],
        "frames": run.num_frames,
        "fps": run.fps,
        "stride": run.track.stride if run.track is not None else 1,
        "recalls": [_recalls(run, index) for index in range(len(chunks))] or [[]],
        "now": [
            [
                record.window_tokens,
                record.hits,
                record.misses,
                record.idle,
                record.tokens_kept,
                round(record.fps, 1) if record.fps else None,
                len(record.retrieved),
            ]
            for record in chunks
        ]
        or [[0, 0, 0, 0, 0, None, 0]],
        "given": [record.chunk for record in chunks if record.given],
    }


def _recalls(run: RunSource, index: int) -> list[list[int | str]]:
    """Past chunk, tokens and tier, the most tokens first."""
    found = sorted(run.chunks[index].retrieved, key=lambda each: -each.tokens)
    return [[each.chunk, each.tokens, each.tier] for each in found[:MOST_RECALLS]]
