from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from core.memory.world_memory import WorldMemory
from core.profiling.engine import OneLayerMemory, rounds, window_frames
from core.profiling.rounds import Rounds, TimedChunk, probe_chunks, timed_rounds
from tests.core.profiling.small import CPU, DTYPE, cells, numbered, stage

ALL = tuple(range(8))


def run(**changes: object) -> list[TimedChunk]:
    wanted = replace(Rounds(wanted=ALL, repeats=2), **changes)
    return list(timed_rounds(stage(), numbered(), wanted, stop=lambda: False))


class TestTurns:
    def test_modes_take_turns_after_every_chunk(self) -> None:
        timed = run(wanted=(0, 1, 2), repeats=1)
        assert [each.chunk for each in timed] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        orders = [[each.cell for each in timed[i : i + 3]] for i in (0, 3, 6)]
        assert all(sorted(order) == [0, 1, 2] for order in orders)
        assert len({order[0] for order in orders}) == 3  # nobody always comes after the same one

    def test_or_after_every_rollout(self) -> None:
        timed = run(wanted=(0, 1), interleaving="run")
        assert [(each.repeat, each.cell) for each in timed[::2]] == [
            (0, 0),
            (0, 1),
            (0, 2),
            (1, 1),
            (1, 2),
            (1, 0),
        ]
        assert all((a.cell, a.chunk + 1) == (b.cell, b.chunk) for a, b in list(pairwise(timed))[::2])

    def test_warm_up_is_the_first_two_chunks_of_the_first_rollout(self) -> None:
        warm = [(each.repeat, each.chunk) for each in run(wanted=(3, 5)) if each.warm_up]
        assert sorted(warm) == 3 * [(0, 3)] + 3 * [(0, 5)]

    def test_times_and_memory_are_there(self) -> None:
        for each in run(wanted=(0, 6), repeats=1):
            assert set(each.ms) == {"retrieve", "denoise", "commit", "decode"}
            assert min(each.ms.values()) > 0
            assert each.cpu_ms > 0
            assert each.device_bytes > stage().model.parameter_bytes
            assert each.host_bytes > 0

    def test_only_some_rollouts_are_decoded(self) -> None:
        timed = run(wanted=(0,), decoded_repeats=1)
        assert {each.repeat for each in timed if "decode" in each.ms} == {0}
        assert all(("decode" in each.ms) == (each.repeat == 0) for each in timed)

    def test_stops_before_the_next_chunk(self) -> None:
        asked = []

        def after_four() -> bool:
            asked.append(1)
            return len(asked) > 4

        timed = list(timed_rounds(stage(), numbered(), Rounds(wanted=ALL, repeats=2), stop=after_four))
        assert len(timed) == 4


class TestWhatIsMeasured:
    @pytest.mark.parametrize("number", range(3))
    def test_noise_in_a_fresh_window_is_never_seen(self, number: int) -> None:
        """Where every chunk is run, latents are those of a rollout that begins with zeros."""
        cell = cells()[number]
        empty = WorldMemory(
            cell.plan,
            positions=cell.positions,
            trained_frames=cell.session.trained_frames,
            device=CPU,
            dtype=DTYPE,
        )
        noisy = stage().memory(cell)
        for a, b in zip(stage().chunks(cell, empty), stage().chunks(cell, noisy), strict=True):
            assert torch.equal(a.latents, b.latents)

    def test_jumps_see_as_many_keys(self) -> None:
        cell = cells()[2]
        jumped = list(stage().chunks(cell, stage().memory(cell), (0, 4, 7)))
        assert [result.step.chunk for result in jumped] == [0, 4, 7]
        assert all(result.latents.isfinite().all() for result in jumped)

    def test_one_layer_for_all(self) -> None:
        cell = cells()[2]
        whole, shared = stage().memory(cell), stage().memory(cell, one_layer=True)
        assert isinstance(shared, OneLayerMemory)
        layers = cell.plan.footprint.num_layers
        assert shared.nbytes < 1.5 * whole.nbytes / layers
        results = list(stage().chunks(cell, shared))
        assert len(results) == 8
        assert all(result.latents.isfinite().all() for result in results)


def test_sliding_sees_as_many_tokens_as_worldkv() -> None:
    by_mode = {cell.mode: cell.plan for cell in cells()}
    assert by_mode["sliding"].window_tokens == by_mode["worldkv"].window_tokens
    assert window_frames(by_mode["worldkv"]) == window_frames(by_mode["sliding"])


def test_probes_are_the_last_chunks_of_each_length() -> None:
    assert probe_chunks((4, 10), width=3) == (1, 2, 3, 7, 8, 9)
    assert probe_chunks((2, 4), width=3) == (0, 1, 2, 3)


def test_trajectory_goes_round() -> None:
    long = rounds("loop", 500)
    assert long.num_frames == 500
    assert rounds("loop", 20).num_frames == 20
