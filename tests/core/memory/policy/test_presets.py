"""Presets against the golden run that pins the release's settings down, and against each other."""

from dataclasses import asdict

import pytest

from core.errors import InputError
from core.memory.planner import plan_memory
from core.memory.positions import PositionMode
from core.memory.presets import PRESETS, preset
from core.memory.strategies import strategy
from tests.core.memory.policy.cameras import footprint, spin
from tests.golden_lingbot import MANIFEST, golden_controls, plan_of, window_of

RELEASE_RUN = MANIFEST["runs"]["retrieval18_store_pooled"]
FRAMES, TOKENS = 36, 15


def plan_from(name, viewpoints, size):
    chosen = preset(name)
    return plan_memory(
        viewpoints,
        footprint=size,
        layout=chosen.layout(viewpoints.num_frames, viewpoints.tokens_per_frame),
        strategy=strategy(chosen.strategy)(num_chunks=chosen.retrieve_chunks(viewpoints.tokens_per_frame)),
        pruning=chosen.pruning,
        reinsert_all=chosen.positions.moves,
    )


def test_the_release_preset_is_the_golden_run_of_the_release():
    chosen = preset("worldkv-release")
    layout, pruning, chunks = window_of(RELEASE_RUN, FRAMES)
    assert chosen.layout(FRAMES, TOKENS) == layout
    assert chosen.pruning == pruning
    assert chosen.retrieve_chunks(TOKENS) == chunks == 6
    assert chosen.positions is PositionMode.ABSOLUTE
    assert not RELEASE_RUN["rope_correction"]


def test_a_plan_from_the_release_preset_retrieves_what_the_reference_retrieved():
    views = golden_controls(RELEASE_RUN["trajectory"]).viewpoints
    plan = plan_from("worldkv-release", views, plan_of(RELEASE_RUN, views).footprint)
    golden = RELEASE_RUN["chunks"]
    assert [[s.chunk for s in step.selections] for step in plan.steps] == [
        c["retrieved"] or [] for c in golden
    ]
    assert [plan.visible_tokens(step) for step in plan.steps] == [c["keys"] for c in golden]


def test_ours_differs_from_the_release_in_the_gap_alone():
    ours, release = asdict(preset("worldkv")), asdict(preset("worldkv-release"))
    assert {key for key in ours if ours[key] != release[key]} == {"name", "release_gap", "reproduces"}


def test_the_gap_hides_one_chunk_that_ours_may_retrieve():
    views = spin(12)
    ours, release = (plan_from(name, views, footprint()).layout for name in ("worldkv", "worldkv-release"))
    for chunk in range(4, 12):
        assert list(ours.candidates(chunk)) == [*release.candidates(chunk), chunk - 2]
        assert release.carried_tokens(chunk) == range((chunk - 1) * 36, (chunk - 1) * 36)


@pytest.mark.parametrize(("tokens", "chunks"), [(1560, 6), (1508, 6), (880, 6), (15, 5)])
def test_the_paper_counts_what_pruning_leaves(tokens, chunks):
    """At keep 0.25 a chunk is left with half of its tokens: 9 frames hold 6 chunks, where counts are even."""
    paper = preset("worldkv-paper")
    assert paper.retrieve_chunks(tokens) == chunks
    layout = paper.layout(FRAMES, tokens)
    assert (
        layout.retrieve_tokens
        <= 9 * tokens
        < layout.retrieve_tokens + paper.pruning.kept_per_chunk(tokens, 3)
    )
    assert layout.window_tokens <= 18 * tokens
    assert (paper.keep_ratio, layout.sink_frames, layout.recent_frames) == (0.25, 3, 3)


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_preset_makes_a_plan(name):
    plan = plan_from(name, spin(20), footprint())
    assert plan.retrieved_tokens > 0
    assert max(plan.visible_tokens(step) for step in plan.steps) <= plan.window_tokens


def test_unknown_presets_name_the_nearest():
    with pytest.raises(InputError) as error:
        preset("worldkv-realease")
    assert error.value.hint == "did you mean worldkv-release? known: worldkv, worldkv-release, worldkv-paper"
    assert error.value.where == "--memory-preset"
