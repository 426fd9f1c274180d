"""Retrieval against what was truly visible, and the rooms in which that is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from core.config import GenerateConfig
from core.evaluation.recording import Recording
from core.evaluation.retrieval import retrieval_score
from core.memory.viewpoints import Viewpoints
from core.models.mini.raycast import render
from core.models.mini.rooms import make_rooms
from core.models.mini.sight import RoomShape, Sight
from core.runlog import totals_of
from tests.core.evaluation.runs import opened, planned_records, write_around
from tests.core.fidelity.scenes import turning

RAYS: dict[str, object] = {"strategy": "rays"}
POSE: dict[str, object] = {"strategy": "pose", "retrieve": 2.0}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recording]:
    """Logs of what was planned: which pictures a model made of that is nothing to retrieval."""
    folder = tmp_path_factory.mktemp("runs")
    traj = write_around(folder)
    one = opened(folder / "run", traj, np.full((63, 48, 80, 3), 90, np.uint8))  # nobody looks at its video
    found = {}
    for name, settings in {
        "rays": RAYS,
        "pose": POSE,
        "key": POSE | {"keep_ratio": 0.25, "prune": "key"},
        "sliding": {"memory": "sliding"},
        "full": {"memory": "full"},
    }.items():
        records = planned_records(traj, **settings)
        log = one.log.model_copy(update={"chunks": tuple(records), "totals": totals_of(records)})
        config = GenerateConfig.model_validate({"traj": str(traj), **settings})
        found[name] = replace(one, log=log, config=config)
    return found


def test_true_depth_of_the_embedded_models_rooms(recordings: dict[str, Recording]) -> None:
    rays = retrieval_score(recordings["rays"], 63)
    assert rays is not None
    assert rays.basis == "depth"
    assert rays.recall is not None
    assert rays.recall > 0.5
    assert rays.token_precision is not None
    assert rays.token_precision > 0.6  # early, less of the coming view has been seen than there is room for
    assert rays.token_recall is not None
    assert rays.token_recall > 0.9
    assert rays.hits + rays.misses > 0


def test_modes_without_retrieval(recordings: dict[str, Recording]) -> None:
    sliding = retrieval_score(recordings["sliding"], 63)
    assert sliding is not None
    assert (sliding.hits, sliding.recall, sliding.precision, sliding.token_recall) == (0, 0.0, None, 0.0)
    assert sliding.misses > 0
    assert retrieval_score(recordings["full"], 63) is None  # nothing is out of its window


def test_where_keys_decide_nobody_knows_the_tokens(recordings: dict[str, Recording]) -> None:
    pose, key = (retrieval_score(recordings[name], 63) for name in ("pose", "key"))
    assert pose is not None
    assert key is not None
    assert (key.hits, key.misses, key.idle) == (pose.hits, pose.misses, pose.idle)
    assert pose.token_precision is not None
    assert key.token_precision is None


def test_a_shorter_video_counts_the_chunks_that_it_has(recordings: dict[str, Recording]) -> None:
    short, whole = retrieval_score(recordings["rays"], 45), retrieval_score(recordings["rays"], 63)
    assert short is not None
    assert whole is not None
    assert short.chunks < whole.chunks


def test_a_plan_that_is_not_the_runs_own_is_not_used(recordings: dict[str, Recording]) -> None:
    """As where a default has changed since: the log has the last word."""
    recording = recordings["rays"]
    config = recording.config.model_copy(update={"retrieve": 0.2})
    other = Recording(recording.folder, recording.log, config, recording.script, recording.video)
    score = retrieval_score(other, 63)
    assert score is not None
    assert score.basis == "sampled"
    totals = recording.log.totals
    assert (score.hits, score.misses, score.idle) == (totals.hits, totals.misses, totals.idle)
    assert (score.recall, score.precision) == pytest.approx((totals.recall, totals.precision))


def room(pillar: float = 0.0) -> RoomShape:
    """Ten units wide, with a pillar ahead."""
    return RoomShape(
        low=np.array([-5.0, -1.0, -5.0]),
        high=np.array([5.0, 1.0, 5.0]),
        pillars=np.array([[0.0, 2.0, pillar], [9.0, 9.0, 0.0]]),
    )


def views(*yaws_deg: float) -> Viewpoints:
    return Viewpoints(
        c2w=turning(np.array(yaws_deg)),
        intrinsics=np.tile([40.0, 40.0, 40.0, 24.0], (len(yaws_deg), 1)),
        image_size=(80, 48),
        grid=(3, 5),
        chunk_frames=1,
    )


def test_surfaces_of_a_box() -> None:
    middle = Sight(views(0.0), room()).surface(np.array([0]))[7]
    assert middle == pytest.approx([0.0, 0.0, 5.0])
    assert Sight(views(0.0), room(0.5)).surface(np.array([0]))[7] == pytest.approx([0.0, 0.0, 1.5])


def test_a_pillar_hides_what_is_behind() -> None:
    behind = np.array([[0.0, 0.0, 4.5], [2.5, 0.0, 4.5], [0.0, 0.0, -4.5]])
    frames = np.array([0])
    assert Sight(views(0.0), room()).seen(behind, frames).tolist() == [[7, 8, -1]]
    assert Sight(views(0.0), room(0.5)).seen(behind, frames).tolist() == [[-1, 8, -1]]


def test_every_surface_is_seen_by_who_looks_at_it() -> None:
    sight = Sight(views(0.0, 30.0, 180.0), room(0.4))
    points = sight.surface(np.array([1]))
    cells = sight.seen(points, np.array([0, 1, 2]))
    assert cells[1].tolist() == list(range(15))
    assert (cells[2] == -1).all()
    assert 0 < (cells[0] >= 0).sum() < 15


def test_rooms_are_those_that_are_drawn() -> None:
    """A pillar's outline: where the raycaster's picture has it, rays end early."""
    path = torch.zeros(1, 40, 3)
    path[0, :, 0] = torch.linspace(-2, 2, 40)
    rooms = make_rooms(path, torch.Generator().manual_seed(3))
    shape = RoomShape.of(rooms)
    x, z, radius = shape.pillars[0]
    assert radius > 0
    yaw = np.degrees(np.arctan2(x, z))
    looking = views(float(yaw))
    to_pillar = np.linalg.norm(Sight(looking, shape).surface(np.array([0]))[7])
    assert to_pillar == pytest.approx(np.hypot(x, z) - radius, abs=1e-3)
    c2w = torch.from_numpy(looking.c2w).float()[None]
    intrinsics = torch.from_numpy(looking.intrinsics).float()[None]
    bare = type(rooms)(rooms.low, rooms.high, rooms.pillars * torch.tensor([1.0, 1.0, 0.0]), rooms.atlas)
    with_it, without = (render(each, c2w, intrinsics, (80, 48))[0, 0] for each in (rooms, bare))
    assert (with_it - without).abs().sum(0)[24, 40] > 0.02
