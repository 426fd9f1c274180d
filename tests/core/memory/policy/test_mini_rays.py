"""What the embedded model retrieves on the bundled trajectories does not change by accident.

The table was written before frames of many tokens learnt to fall into cells; mini's 15 tokens do not.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from core.memory.schedule import build_schedule
from core.memory.strategies.rays import Rays
from core.memory.viewpoints import Viewpoints
from tests.core.memory.policy.cameras import worldkv_layout
from trajectories import library_names, load

TABLE = json.loads((Path(__file__).parent / "mini_rays.json").read_text())


def test_the_table_is_complete():
    assert sorted(TABLE) == sorted(library_names())


@pytest.mark.parametrize("name", sorted(TABLE))
def test_selections_are_as_they_were(name):
    cameras = np.asarray(load(name).c2w)
    c2w = cameras[: min(len(cameras) // 3 * 3, 600)]
    intrinsics = np.tile([40.0, 40.0, 40.0, 24.0], (len(c2w), 1))
    views = Viewpoints(c2w=c2w, intrinsics=intrinsics, image_size=(80, 48), grid=(3, 5))
    schedule = build_schedule(views, worldkv_layout(views, 135, recent_frames=6), Rays())
    digest = hashlib.sha256()
    for scheduled in schedule.chunks:
        for selection in scheduled.selections:
            row = [scheduled.chunk, selection.chunk, *selection.tokens]
            digest.update(np.array(row, dtype="<i8").tobytes())
    assert {
        "chunks": len(schedule.chunks),
        "sha256": digest.hexdigest()[:16],
        "selections": sum(len(c.selections) for c in schedule.chunks),
        "hits": schedule.hits,
        "misses": schedule.misses,
        "idle": schedule.idle,
    } == TABLE[name]
