import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InputError
from core.memory.strategies import ray_tokens
from core.memory.strategies.ray_tokens import LEVEL_OFFSET
from core.memory.strategies.rays import Rays
from core.memory.viewpoints import Viewpoints
from tests.core.memory.policy.cameras import random_walk, spin, viewpoints, yaw_c2w
from tests.core.memory.policy.naive_rays import few_copies, naive_distance

OLD_RULE = {"near_depth": math.inf, "translation_weight": 1.0}


def naive(rays, views, chunk, candidates, budget):
    """All pairs, one by one, as the definition says; returns {(chunk, token)}."""
    directions = views.rays(range(views.num_frames))[1]
    tokens = views.tokens_per_frame
    level_rad = rays.tolerance * views.token_pitch_rad
    ranked = []
    for coming in views.frames_of(chunk):
        for query in range(tokens):
            row = []
            for past in candidates:
                for frame in views.frames_of(past):
                    for token in range(tokens):
                        ray, stored = directions[coming, query], directions[frame, token]
                        distance = naive_distance(rays, views, ray, coming, stored, frame)
                        if rays.max_distance is not None and distance > rays.max_distance:
                            continue
                        level = int(np.floor(distance / level_rad + LEVEL_OFFSET))
                        age = frame if rays.order == "older" else -frame
                        row.append((level, age, token, frame))
            ranked.append(few_copies(rays, row))
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
    near_depth=st.sampled_from([None, math.inf, 0.3, 2.0]),
)
def test_rays_equal_the_naive_definition(seed, budget, tolerance, max_distance, order, weight, near_depth):
    rays = Rays(
        near_depth=near_depth,
        translation_weight=weight,
        tolerance=tolerance,
        max_distance=max_distance,
        order=order,
    )
    views = random_walk(7, seed, grid=(2, 3))
    assert picked(rays.select(views, 6, range(5), budget)) == naive(rays, views, 6, range(5), budget)


@pytest.mark.parametrize("order", ["older", "newer"])
@pytest.mark.parametrize("budget", [4, 12, 36, 50, 1000])
def test_rays_equal_the_naive_definition_where_views_repeat(order, budget):
    """Equal rays at many times: ties everywhere, and more ranks than looked up at first."""
    rays = Rays(order=order)
    views = viewpoints(yaw_c2w(np.repeat([0, 90, 0, 10, 180, 0, 0, 0, 0, 0, 0, 5], 3)), (2, 2))
    assert picked(rays.select(views, 11, range(10), budget)) == naive(rays, views, 11, range(10), budget)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    budget=st.integers(1, 80),
    copies=st.sampled_from([None, 1, 2, 12]),
    chunk_copies=st.sampled_from([None, 1, 2, 4]),
    max_distance=st.sampled_from([None, 0.4]),
)
def test_few_copies_equal_the_naive_definition(seed, budget, copies, chunk_copies, max_distance):
    rays = Rays(copies=copies, chunk_copies=chunk_copies, max_distance=max_distance)
    views = random_walk(9, seed, grid=(2, 3), turn_rad=0.1, stride=0.05)
    assert picked(rays.select(views, 8, range(7), budget)) == naive(rays, views, 8, range(7), budget)


def test_copies_leave_room_and_chunk_copies_spread():
    views = viewpoints(yaw_c2w(np.zeros(30)))  # the same view ten times
    few = Rays(copies=2).select(views, 9, range(8), 96)
    assert [(s.chunk, len(s.tokens)) for s in few] == [(0, 24)]
    spread = Rays(chunk_copies=1).select(views, 9, range(8), 96)
    assert [(s.chunk, len(s.tokens)) for s in spread] == [(chunk, 12) for chunk in range(8)]


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
    for near_depth in (math.inf, 50.0):
        near, far = (Rays(near_depth=near_depth, translation_weight=weight) for weight in (9.0, 0.0))
        assert [s.chunk for s in far.select(views, 2, range(2), 12)] == [0]
        assert [s.chunk for s in near.select(views, 2, range(2), 12)] == [1]


@pytest.mark.parametrize("zoom", [(1, 2.3, 3.9), (3.7, 3.7, 3.7), (3.9, 1, 1)])
def test_every_frame_of_the_coming_chunk_asks_with_its_own_zoom(zoom):
    views = viewpoints(yaw_c2w(np.zeros(9)), grid=(2, 8))
    intrinsics = views.intrinsics.copy()
    intrinsics[6:, :2] *= np.array(zoom)[:, None]
    intrinsics[6:, 2:] += [3.3, 1.7]  # no ties between left and right
    zoomed = dataclasses.replace(views, intrinsics=intrinsics)
    taken = picked(Rays().select(zoomed, 2, range(1), 8))
    assert taken == naive(Rays(), zoomed, 2, range(1), 8)
    in_the_middle = [abs(token % 8 - 3.5) < 2 for _, token in taken]
    assert all(in_the_middle) == (1 not in zoom)


@pytest.mark.parametrize("rays", [Rays(near_depth=0.1), Rays(near_depth=7.0), Rays(near_depth=None), Rays()])
def test_a_camera_that_only_turns_knows_no_depth(rays):
    at = np.full((90, 3), 1234.5)
    views = viewpoints(yaw_c2w(7.3 * np.arange(90), at))
    for chunk in range(2, 30):
        plain = Rays(**OLD_RULE).select(views, chunk, range(chunk - 1), 36)
        assert picked(rays.select(views, chunk, range(chunk - 1), 36)) == picked(plain)


def test_a_step_aside_takes_what_lies_in_the_direction_of_the_surface():
    """A wall three units ahead, the camera moved a unit to the right: its picture moved by 18 degrees."""
    positions = np.repeat([[0.0, 0, 0], [0, 0, 0], [1, 0, 0]], 3, axis=0)
    c2w = yaw_c2w(np.repeat([0, -18, 0], 3), positions)
    grid = (1, 9)  # the middle one looks ahead
    views = Viewpoints(c2w=c2w, intrinsics=np.tile([45.0, 45, 45, 5], (9, 1)), image_size=(90, 10), grid=grid)
    ahead, before = 4, 6  # tan(18 degrees) is 1.6 token widths to the right
    rule = Rays(near_depth=1.5, translation_weight=0.0, tolerance=0.1)
    nearest = rule.select(views, 2, range(1), 9)
    assert before in {int(t) % 9 for s in nearest for t in s.tokens}
    assert naive_distance(rule, views, *ray(views, 6, ahead), *ray(views, 0, before)) < naive_distance(
        rule, views, *ray(views, 6, ahead), *ray(views, 0, ahead)
    )


def ray(views, frame, token):
    return views.rays([frame])[1][0, token], frame


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
        ({"near_depth": 0.0}, "rays.near_depth"),
        ({"near_depth": float("nan")}, "rays.near_depth"),
        ({"tolerance": 0.0}, "rays.tolerance"),
        ({"max_distance": 0.0}, "rays.max_distance"),
        ({"copies": 0}, "rays.copies"),
        ({"chunk_copies": -1}, "rays.chunk_copies"),
    ],
)
def test_impossible_settings_are_refused(bad, where):
    with pytest.raises(InputError) as error:
        Rays(**bad)
    assert error.value.where == where
