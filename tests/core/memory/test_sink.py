"""Positions that stay within what the model was trained on, however long the rollout."""

import pytest
import torch

from core.memory.positions import PositionMode, frame_shifts, sink_start
from core.models.wan.rope import RotaryTable
from tests.core.memory.test_slow_path import CASES
from tests.core.memory.tiny import CPU, make_plan, new_memory, run, there_and_back

TRAINED = 18


def keys_offsets(mode, plan, step, trained=TRAINED):
    """How far before the chunk's newest frame the sink and every retrieved token stand."""
    newest = step.frames + 2
    starts = [newest - sink_start(mode, step, plan.layout, trained_frames=trained)]
    moved = frame_shifts(mode, step, plan.layout, trained_frames=trained)
    tokens = plan.footprint.tokens_per_frame
    return starts + list(newest - (step.retrieved_sources // tokens + moved))


@pytest.mark.parametrize("name", ["pose", "rays"])
def test_slot_positions_stay_within_the_trained_range(name):
    plan = make_plan(there_and_back(40), **CASES[name], positions=PositionMode.SLOT)
    for step in plan.steps:
        offsets = keys_offsets(PositionMode.SLOT, plan, step)
        assert min(offsets) >= 0
        assert max(offsets) < TRAINED
    assert max(keys_offsets(PositionMode.ABSOLUTE, plan, plan.steps[-1])) > 100


def test_the_sink_and_retrieved_chunks_do_not_share_a_slot():
    plan = make_plan(there_and_back(40), **CASES["pose"], positions=PositionMode.SLOT)
    step = plan.steps[-1]
    sink, *retrieved = keys_offsets(PositionMode.SLOT, plan, step)
    assert retrieved
    assert max(retrieved) <= sink - plan.layout.sink_frames


def test_a_short_rollout_moves_nothing():
    plan = make_plan(there_and_back(6), **CASES["pose"], positions=PositionMode.SLOT)
    memory = new_memory(plan, positions=PositionMode.SLOT, trained_frames=TRAINED)
    assert memory.sink is None


def test_the_sink_in_the_window_stands_where_it_should():
    views = there_and_back(12)
    plan = make_plan(views, **CASES["pose"], positions=PositionMode.SLOT)
    memory = new_memory(plan, positions=PositionMode.SLOT, trained_frames=TRAINED)
    run(views, plan, memory)
    start = sink_start(PositionMode.SLOT, plan.steps[-1], plan.layout, trained_frames=TRAINED)
    frames = plan.layout.sink_frames
    assert start == 12 * 3 - TRAINED
    rotation = RotaryTable(plan.footprint.head_dim, device=CPU).grid_rotation(
        range(start, start + frames), plan.footprint.grid
    )
    tokens = frames * plan.footprint.tokens_per_frame
    for layer, keys in enumerate(memory.sink.keys):
        assert keys.abs().max() > 0
        torch.testing.assert_close(memory.window.keys[layer, :, :tokens], rotation.apply(keys))


def test_a_sink_that_follows_is_restored():
    views = there_and_back(12)
    plan = make_plan(views, **CASES["rays"], positions=PositionMode.SLOT)
    memory = new_memory(plan, positions=PositionMode.SLOT, trained_frames=TRAINED)
    run(views, plan, memory)
    again = new_memory(plan, positions=PositionMode.SLOT, trained_frames=TRAINED)
    again.restore({name: tensor.clone() for name, tensor in memory.state().items()})
    assert torch.equal(again.sink.keys, memory.sink.keys)
    held = sum(t.nbytes for t in memory.state().values() if t.ndim)
    assert again.nbytes == memory.nbytes == held + memory.bank.staging_bytes
