import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InputError
from core.memory.strategies import ray_tokens
from core.memory.strategies.ray_tokens import LEVEL_OFFSET
from core.memory.strategies.rays import Rays
from tests.core.memory.policy.cameras import random_walk, spin, viewpoints, yaw_c2w


def naive(rays, views, chunk, candidates, budget):
    """All pairs, one by one, as the definition says; returns {(chunk, token)}."""
    origins, directions = views.rays(range(views.num_frames))
    tokens = views.tokens_per_frame
    level_rad = rays.tolerance * views.token_pitch_rad
    ranked = []
    for coming in views.frames_of(chunk):
        for query in range(tokens):
            row = []
            for past in candidates:
                for frame in views.frames_of(past):
                    gap = np.linalg.norm(origins[coming] - origins[frame])
                    for token in range(tokens):
                        cosine = np.clip(directions[coming, query] @ directions[frame, token], -1, 1)
                        distance = np.arccos(cosine) + rays.translation_weight * gap
                        if rays.max_distance is not None and distance > rays.max_distance:
                            continue
                        level = int(np.floor(distance / level_rad + LEVEL_OFFSET))
                        age = frame if rays.order == "older" else -frame
                        row.append((level, age, token, frame))
            ranked.append(sorted(row))
    taken = []
    for rank in range(max(map(len, ranked))):
        for _, _, token, frame in sorted(row[rank] for row in ranked if rank < len(row)):
            if (frame, token) not in taken and len(taken) < budget:
                taken.append((frame, token))
    return sorted((f // 3, f % 3 * tokens + t) for f, t in taken)


def picked(selections):
    return sorted((s.chunk, int(token)) for s in selections for token in s.tokens)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    budget=st.integers(1, 60),
    tolerance=st.sampled_from([0.05, 0.25, 1.0]),
    max_distance=st.sampled_from([None, 0.3, 1.0]),
    order=st.sampled_from(["older", "newer"]),
    weight=st.sampled_from([0.0, 1.0, 3.0]),
)
def test_rays_equal_the_naive_definition(seed, budget, tolerance, max_distance, order, weight):
    rays = Rays(translation_weight=weight, tolerance=tolerance, max_distance=max_distance, order=order)
    views = random_walk(7, seed, grid=(2, 3))
    assert picked(rays.select(views, 6, range(5), budget)) == naive(rays, views, 6, range(5), budget)


@pytest.mark.parametrize("order", ["older", "newer"])
@pytest.mark.parametrize("budget", [4, 12, 36, 50, 1000])
def test_rays_equal_the_naive_definition_where_views_repeat(order, budget):
    """Equal rays at many times: ties everywhere, and more ranks than looked up at first."""
    rays = Rays(order=order)
    views = viewpoints(yaw_c2w(np.repeat([0, 90, 0, 10, 180, 0, 0, 0, 0, 0, 0, 5], 3)), (2, 2))
    assert picked(rays.select(views, 11, range(10), budget)) == naive(rays, views, 11, range(10), budget)


def test_frames_beyond_the_gate_do_not_hide_nearer_ones_of_the_same_level():
    rays = Rays(tolerance=1.0, max_distance=0.3)
    yaw = [*np.repeat([20] * 12 + [10] * 3, 3), 0, 0, 0]
    views = viewpoints(yaw_c2w(yaw), (1, 1))
    assert picked(rays.select(views, 15, range(15), 39)) == naive(rays, views, 15, range(15), 39)


def test_blocks_do_not_show(monkeypatch):
    views = random_walk(12, seed=3)
    whole = picked(Rays().select(views, 11, range(10), 36))
    monkeypatch.setattr(ray_tokens, "BLOCK_PAIRS", 1)
    assert picked(Rays().select(views, 11, range(10), 36)) == whole


def test_a_full_turn_comes_home():
    views = spin(36)  # 30 degrees a chunk: chunk c looks like chunk c - 12
    for chunk in range(14, 36):
        selections = Rays().select(views, chunk, range(1, chunk - 1), 36)
        home = (chunk - 1) % 12 + 1
        # Its frames overlap, so some rays are found in the chunk before it, too; never in newer copies.
        assert home in {s.chunk for s in selections}
        assert max(s.chunk for s in selections) <= 13
        nearest = Rays(order="newer", tolerance=0.01).select(views, chunk, [home], 36)
        assert [s.score for s in nearest] == pytest.approx([0.0], abs=0.05)


def test_the_nearest_token_is_the_same_ray():
    views = viewpoints(yaw_c2w(np.repeat([0, 180, 90, 0], 3)))
    (selection,) = Rays().select(views, 3, range(3), 12)
    assert selection.chunk == 0
    np.testing.assert_array_equal(selection.tokens, np.arange(12))  # all of its oldest frame
    assert selection.score == 0


def test_newer_tokens_win_where_asked():
    views = viewpoints(yaw_c2w(np.repeat([0, 180, 0, 0], 3)))
    (selection,) = Rays(order="newer").select(views, 3, range(3), 12)
    assert selection.chunk == 2
    np.testing.assert_array_equal(selection.tokens, np.arange(24, 36))


def test_the_gate_leaves_out_what_no_query_is_near():
    views = viewpoints(yaw_c2w(np.repeat([180, 150, 0], 3)))
    assert Rays(max_distance=0.5).select(views, 2, range(2), 36) == []
    assert len(picked(Rays().select(views, 2, range(2), 36))) == 36


def test_translation_counts_as_told():
    positions = np.repeat(np.array([[0, 0, 2], [0, 0, 0], [0, 0, 0]], dtype=float), 3, axis=0)
    views = viewpoints(yaw_c2w(np.repeat([0, 40, 0], 3), positions))
    assert [s.chunk for s in Rays(translation_weight=0.0).select(views, 2, range(2), 12)] == [0]
    assert [s.chunk for s in Rays(translation_weight=9.0).select(views, 2, range(2), 12)] == [1]


@pytest.mark.parametrize(("budget", "candidates"), [(0, range(2)), (36, range(0))])
def test_nothing_to_choose(budget, candidates):
    assert Rays().select(spin(4), 3, candidates, budget) == []


def test_selections_are_sorted_and_grouped():
    views = random_walk(20, seed=5)
    selections = Rays().select(views, 19, range(1, 18), 30)
    assert len({s.chunk for s in selections}) == len(selections)
    assert sum(len(s.tokens) for s in selections) == 30
    for selection in selections:
        assert (np.diff(selection.tokens) > 0).all()
        assert selection.tokens[0] >= 0
        assert selection.tokens[-1] < 36


@pytest.mark.parametrize(
    ("bad", "where"),
    [
        ({"translation_weight": -1.0}, "rays.translation_weight"),
        ({"translation_weight": float("nan")}, "rays.translation_weight"),
        ({"tolerance": 0.0}, "rays.tolerance"),
        ({"max_distance": 0.0}, "rays.max_distance"),
    ],
)
def test_impossible_settings_are_refused(bad, where):
    with pytest.raises(InputError) as error:
        Rays(**bad)
    assert error.value.where == where
