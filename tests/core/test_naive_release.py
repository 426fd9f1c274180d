"""The engine against a naive simulation of the reference, which itself reproduces every golden rollout."""

import random

import pytest
import torch

from tests.golden_lingbot import MANIFEST, golden, run_engine, watch_stores
from tests.naive_release import naive_run

ATOL = MANIFEST["tolerance"]["x0"]
LAYERS = MANIFEST["config"]["num_layers"]
GOLDEN = list(MANIFEST["runs"])


def assert_same(ours, expected):
    for chunk, (a, b) in enumerate(zip(ours, expected, strict=True)):
        torch.testing.assert_close(a, b, atol=ATOL, rtol=0, msg=lambda m, c=chunk: f"chunk {c}: {m}")


@pytest.mark.parametrize("name", GOLDEN)
def test_the_simulation_reproduces_the_reference(name):
    run = MANIFEST["runs"][name]
    latents, cache = naive_run(run)
    assert_same(latents, golden("runs")[f"{name}.x0"])
    assert cache.retrieved == [c["retrieved"] or [] for c in run["chunks"]]
    assert cache.num_keys == [c["keys"] for c in run["chunks"]]
    for (layer, chunk), kept in cache.kept.items():
        assert kept == golden("runs")[f"{name}.kept.layer{layer}"][chunk].tolist()


def settings(seed: int) -> dict:
    """A rollout that differs from the golden ones in everything that its window is made of."""
    pick = random.Random(seed)
    mode = pick.choice(["sliding", "sink_recent", *["retrieval"] * 6])
    when = pick.choice([None, "store", "store", "runtime"])
    compression = {
        "when": when,
        "keep_ratio": pick.choice([0.05, 0.1, 0.2, 0.25, 1 / 3, 0.4, 0.55, 0.6, 0.75, 0.9]),
        "pooled": pick.random() < 0.5,
        "anchor_rotate": when == "runtime" and pick.random() < 0.5,
    }
    sink = pick.choice([0, 1, 2, 3, 4, 5, 6, 9])
    return {
        "mode": mode,
        "trajectory": pick.choice("ABCDEF"),
        "shift": pick.choice([3.0, 5.0, 10.0]),
        "sink_frames": 0 if mode == "sliding" else sink,
        "window_frames": pick.randint(3, 12),
        "retrieval_frames": pick.choice([2, *range(3, 22)]) if mode == "retrieval" else None,
        "rope_correction": mode == "retrieval" and pick.random() < 0.5,
        "compression": compression if when and mode == "retrieval" else None,
        "max_attention_keys": None,
        "reference_commit": "2c9bcbb" if pick.random() < 0.15 else "046f6d1",
    }


def compare(run: dict, num_chunks: int | None = None) -> None:
    expected, cache = naive_run(run, num_chunks=num_chunks)
    with pytest.MonkeyPatch.context() as patch:
        stored = watch_stores(patch)
        ours, plan, memory = run_engine(run, num_chunks=num_chunks)
    assert [[s.chunk for s in step.selections] for step in plan.steps] == cache.retrieved
    assert [memory.commit_cache(step).filled for step in plan.steps] == cache.num_keys
    assert_same(ours, expected)
    for at, kept in cache.kept.items():
        assert len(plan.steps[at[1]].store_pool) in (0, len(kept))
        if at in stored:
            assert stored[at].tolist() == sorted(kept)


@pytest.mark.parametrize("seed", range(12))
def test_any_setting_equals_the_simulation(seed):
    compare(settings(seed))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12, 30))
def test_many_settings_equal_the_simulation(seed):
    compare(settings(seed))


@pytest.mark.parametrize("num_chunks", [1, 3, 4, 6, 9])
@pytest.mark.parametrize("name", ["sliding7", "sink_recent", "retrieval18_store_pooled"])
def test_short_videos_keep_six_recent_frames(name, num_chunks):
    """The reference lets recent shrink where the video is shorter than its window; we do not."""
    compare(MANIFEST["runs"][name], num_chunks)
