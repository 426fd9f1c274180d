"""Settings: what they are called, what they refuse, what they plan."""

import numpy as np
import pytest

from core.bench.setting import TOKENS_PER_CHUNK, Setting, make_setting
from core.errors import InputError
from core.models.mini.config import MiniConfig
from core.models.mini.outline import mini_footprint, mini_viewpoints
from trajectories import load


@pytest.mark.parametrize(
    ("values", "label"),
    [
        ({"tokens": 135}, "rays 135"),
        ({"strategy": "pose", "chunks": 3}, "pose 135"),
        ({"strategy": "pose", "chunks": 3, "prune": "key", "keep_ratio": 0.25}, "pose 69 keep 0.25 key"),
        (
            {"strategy": "pose", "chunks": 1, "prune": "random", "keep_ratio": 0.1, "prune_seed": 2},
            "pose 19 keep 0.1 random seed 2",
        ),
        ({"tokens": 45, "gate": 0.2, "order": "newer"}, "rays 45 gate 0.2 newer first"),
        ({"tokens": 45, "bank": "int4", "sink": 0, "recent": 1}, "rays 45 int4 sink 0 recent 1"),
        ({"tokens": 45, "commit": "last", "positions": "slot"}, "rays 45 slot last pass"),
        ({"mode": "sliding", "recent": 6}, "sliding recent 6"),
        ({"mode": "full", "name": "everything"}, "everything"),
    ],
)
def test_labels_say_what_differs_from_the_default(values, label):
    assert make_setting(values).label == label


def test_a_name_is_no_difference():
    assert Setting(name="a", tokens=45) == Setting(tokens=45)
    assert "name" not in Setting(name="a", tokens=45).key


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"mode": "full", "tokens": 45}, "memory mode full retrieves nothing: tokens"),
        ({"mode": "sliding", "bank": "int8"}, "memory mode sliding retrieves nothing: bank"),
        ({"tokens": 45, "prune": "key", "keep_ratio": 0.5}, "nothing to prune"),
        ({"strategy": "pose", "tokens": 45, "keep_ratio": 0.5}, "do not go together"),
        ({"strategy": "pose", "tokens": 45, "prune": "key"}, "do not go together"),
        ({"strategy": "pose", "tokens": 50}, "in steps of 45 tokens, got 50"),
        ({"strategy": "rays"}, "in steps of 1 tokens, got 0"),
        ({"tokens": 45, "chunks": 1}, "tokens and chunks say the same"),
    ],
)
def test_what_does_not_go_together_is_refused(values, problem):
    with pytest.raises(InputError, match=problem):
        make_setting(values)


@pytest.mark.parametrize(
    "values",
    [
        {"tokens": 30, "order": "newer", "gate": 0.3},
        {"strategy": "coverage", "chunks": 2, "gate": 0.2},
        {"strategy": "pose", "chunks": 2, "prune": "view", "keep_ratio": 0.5, "pooled": True},
        {"mode": "sink", "sink": 2, "recent": 1},
        {"mode": "full"},
    ],
)
def test_plans_are_what_the_setting_says(values):
    setting, config = make_setting(values), MiniConfig()
    viewpoints = mini_viewpoints(
        config, load("loop").fit_chunks(first_frames=3, later_frames=3, how="cut")[0]
    )
    footprint = mini_footprint(config, np.dtype("float32"))
    plan = setting.plan(footprint, viewpoints)
    assert plan.layout.tokens_per_chunk == TOKENS_PER_CHUNK
    assert plan.layout.retrieve_tokens == setting.tokens
    assert plan.layout.sink_frames == (3 * setting.sink if setting.mode in ("sink", "worldkv") else 0)
    assert plan.layout.recent_frames == 3 * setting.recent
    assert plan.pruning.rule == setting.prune
    assert max(step.num_retrieved for step in plan.steps) <= setting.tokens
    assert (plan.retrieved_tokens > 0) is (setting.mode == "worldkv")
