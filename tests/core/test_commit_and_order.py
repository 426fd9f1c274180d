"""The settings `commit` and `order` reach the rollout, the plan and the log."""

import numpy as np
import pytest

from core.config import resolve
from core.errors import InputError
from core.generate import prepare
from core.memory.world_memory import WorldMemory
from core.noise import seeded_noise
from core.predicted_times import predict_times
from core.rollout import rollout
from core.runlog import load_run
from core.video.reader import read_video
from tests.core.test_calibration import EXACT

THERE = """\
version: 1
name: there
fps: 10
camera: {fov_deg: 90, image_size_px: [80, 48]}
rates: {turn_deg_per_frame: 10, move_units_per_frame: 0.1}
steps:
  - turn: {yaw_deg: 60}
  - turn: {yaw_deg: -60}
  - hold: {frames: 3}
"""


def job(tmp_path, **settings):
    (tmp_path / "there.yaml").write_text(THERE)
    ours = {"traj": str(tmp_path / "there.yaml"), "device": "cpu", "scale": 1}
    return prepare(resolve({**ours, **settings}, {}))


def test_the_order_reaches_the_strategy(tmp_path):
    assert job(tmp_path).plan.schedule.strategy == "rays"
    older, newer = (job(tmp_path, order=order, retrieve_tokens=20).plan for order in ("older", "newer"))
    assert [s.selections for s in older.steps] != [s.selections for s in newer.steps]


def test_an_order_without_effect_is_said(tmp_path):
    notes = job(tmp_path, order="newer", strategy="pose").notes
    assert any("order has no effect" in note for note in notes)


@pytest.mark.parametrize("key", ["order", "commit"])
def test_other_words_are_refused(tmp_path, key):
    with pytest.raises(InputError, match=f"{key} must be "):
        job(tmp_path, **{key: "first"})


def test_a_pass_less_is_foretold(tmp_path):
    plan = job(tmp_path).plan
    clean, last = (
        predict_times(EXACT, plan, frame_size=(80, 48), passes=4, clean_pass=wanted)
        for wanted in (True, False)
    )
    assert last.denoise_s == clean.denoise_s
    assert last.commit_s < clean.commit_s / 2


def test_a_run_says_which_pass_was_remembered(tmp_path):
    videos = {}
    for commit in ("clean", "last"):
        out = tmp_path / commit
        job(tmp_path, commit=commit, out=out).run()
        log = load_run(out / "run.json")
        assert (log.config["commit"], log.plan["commit"]) == (commit, commit)
        videos[commit] = read_video(out / "video.mp4")
    assert not np.array_equal(videos["clean"][-1], videos["last"][-1])


def test_passes_are_counted(tmp_path, monkeypatch):
    """Five a chunk with a clean one, four without; what is given takes the clean pass alone."""
    ready = job(tmp_path, prefix=2)
    model = ready.session.load(ready.device, ready.dtype, ready.placement.turns)
    for commit, passes in (("clean", 5), ("last", 4)):
        counted = count_passes(ready, model, monkeypatch, commit)
        assert counted == [1, 1, *[passes] * (ready.num_chunks - 2)]


def count_passes(ready, model, monkeypatch, commit):
    counted = []
    network = type(model.controls._model.network)
    forward = network.forward

    def counting(*arguments, **named):
        counted[-1] += 1
        return forward(*arguments, **named)

    monkeypatch.setattr(network, "forward", counting)
    memory = WorldMemory(ready.plan, device=ready.device, dtype=ready.dtype)
    noise = seeded_noise(0, (1, model.latent_shape[0], 3, *model.latent_shape[1:]), ready.device)
    counted.append(0)
    for _ in rollout(
        model.controls,
        ready.plan,
        memory,
        levels=model.levels,
        noise=noise,
        given=model.given,
        commit=commit,
    ):
        counted.append(0)
    monkeypatch.setattr(network, "forward", forward)
    return counted[:-1]
