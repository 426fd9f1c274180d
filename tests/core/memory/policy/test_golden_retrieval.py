"""Candidates, distances, retrieved ids and window sizes of the reference, chunk by chunk."""

import numpy as np
import pytest

from core.memory.footprint import Footprint
from core.memory.planner import plan_memory
from core.memory.prune_policy import Pruning
from core.memory.strategies.pose import Pose, pose_distances
from tests.core.memory.policy.golden import RETRIEVING, RUNS, TOKENS, golden_layout, golden_viewpoints


def plan_golden(name):
    run = RUNS[name]
    compression = run["compression"]
    if compression and compression["when"] == "store":
        pruning = Pruning(rule="key", keep_ratio=compression["keep_ratio"], pooled=compression["pooled"])
    else:
        pruning = Pruning()
    stored = pruning.kept_per_chunk(TOKENS, 3)
    num_chunks = (run["retrieval_frames"] or 0) // 3
    return plan_memory(
        golden_viewpoints(run["trajectory"]),
        footprint=Footprint(
            num_layers=2, num_heads=4, head_dim=32, grid=(3, 5), kv_element_bytes=4, parameter_bytes=0
        ),
        layout=golden_layout(run, stored),
        strategy=Pose(num_chunks=num_chunks) if num_chunks else None,
        pruning=pruning,
        keep_all=bool(run["stored_tokens"]),
    )


def test_there_are_golden_runs():
    assert len(RETRIEVING) == 12
    assert any(len(c["retrieved"] or []) == 6 for c in RUNS["retrieval18_store_pooled"]["chunks"])


@pytest.mark.parametrize("name", RETRIEVING)
def test_pose_retrieves_what_the_reference_retrieves(name):
    run = RUNS[name]
    plan = plan_golden(name)
    views = golden_viewpoints(run["trajectory"])
    for chunk, golden in enumerate(run["chunks"]):
        step = plan.steps[chunk]
        candidates = list(plan.layout.candidates(chunk))
        assert candidates == (golden["candidates"] or [])
        assert [s.chunk for s in step.selections] == (golden["retrieved"] or [])
        assert step.num_retrieved == golden["retrieved_tokens"]
        if candidates:
            distances = pose_distances(views, chunk, candidates)
            # golden: six decimals, computed in float32
            np.testing.assert_allclose(distances, golden["distances"], atol=1e-5)


@pytest.mark.parametrize("name", sorted(n for n, r in RUNS.items() if "runtime" not in n))
def test_windows_hold_as_many_keys_as_the_reference(name):
    plan = plan_golden(name)
    for step, golden in zip(plan.steps, RUNS[name]["chunks"], strict=True):
        assert plan.visible_tokens(step) == golden["keys"]


@pytest.mark.parametrize("name", RETRIEVING)
def test_banks_store_as_many_tokens_as_the_reference(name):
    plan = plan_golden(name)
    assert [len(step.store_pool) for step in plan.steps] == RUNS[name]["stored_tokens"]
