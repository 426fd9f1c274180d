"""Retrieval of the reference implementation, from tests/golden/memory/retrieval.json."""

import json
from pathlib import Path

import numpy as np

from core.memory.layout import MemoryMode, WindowLayout
from core.memory.viewpoints import Viewpoints

GOLDEN = json.loads((Path(__file__).parents[3] / "golden" / "memory" / "retrieval.json").read_text())
RUNS = GOLDEN["runs"]
RETRIEVING = sorted(name for name, run in RUNS.items() if run["mode"] == "retrieval")
TOKENS = GOLDEN["tokens_per_frame"]


def golden_viewpoints(name: str) -> Viewpoints:
    rows = np.asarray(GOLDEN["cameras"][name], dtype=np.float32).astype(np.float64).reshape(-1, 3, 4)
    c2w = np.concatenate([rows, np.tile([[[0.0, 0, 0, 1]]], (len(rows), 1, 1))], axis=1)
    intrinsics = np.tile(np.array([40.0, 40.0, 40.0, 24.0]), (len(rows), 1))
    return Viewpoints(c2w=c2w, intrinsics=intrinsics, image_size=(80, 48), grid=(3, 5))


def golden_layout(run: dict, stored_tokens: int) -> WindowLayout:
    modes = {"full": "full", "sliding": "sliding", "sink_recent": "sink", "retrieval": "worldkv"}
    retrieving = run["mode"] == "retrieval"
    recent = run["recent_frames"] or run["window_frames"]  # counts the current chunk
    return WindowLayout(
        mode=MemoryMode(modes[run["mode"]]),
        num_frames=36,
        tokens_per_frame=TOKENS,
        sink_frames=0 if run["mode"] == "full" else run["sink_frames"],
        recent_frames=recent - 3,
        retrieve_tokens=run["retrieval_frames"] // 3 * stored_tokens if retrieving else 0,
        release_gap=retrieving,
    )
