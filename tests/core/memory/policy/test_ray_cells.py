"""Cells of tokens: their shapes, their rays, and what is taken by them."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.memory.strategies import ray_search
from core.memory.strategies.ray_cells import CellGrid, CellTokens, cell_grid
from core.memory.strategies.ray_index import frame_index
from core.memory.strategies.ray_pairs import LEVEL_OFFSET
from core.memory.strategies.rays import Rays
from core.memory.viewpoints import Viewpoints
from tests.benchmarks.long_paths import PATHS, lingbot_views
from tests.core.memory.policy.cameras import random_walk, viewpoints, yaw_c2w
from tests.core.memory.policy.naive_rays import angle, few_copies, naive_arc

GRID = (12, 16)  # 3x2 tokens a cell: more than a hundred tokens
BUDGET = 300


@pytest.mark.parametrize(
    ("image_size", "grid", "cell", "shape"),
    [
        ((832, 480), (30, 52), (6, 6), (5, 9)),  # LingBot: the last column is cut
        ((640, 352), (22, 40), (4, 4), (6, 10)),  # Matrix-Game: the lowest row is cut
        ((80, 48), (3, 5), (1, 1), (3, 5)),  # mini: every token for itself
        ((64, 48), (2, 8), (1, 1), (2, 8)),  # however oblong
        ((640, 10), (1, 640), (1, 10), (1, 64)),  # one row of tokens, ten times as high as wide
    ],
)
def test_cells_are_as_square_and_as_fine_as_may_be(image_size, grid, cell, shape):
    views = Viewpoints(
        c2w=np.tile(np.eye(4), (3, 1, 1)),
        intrinsics=np.tile([400.0, 400.0, image_size[0] / 2, image_size[1] / 2], (3, 1)),
        image_size=image_size,
        grid=grid,
    )
    cells = cell_grid(views)
    assert (cells.cell, cells.shape) == (cell, shape)
    assert cells.sizes.sum() == grid[0] * grid[1]


def test_oblong_tokens_make_oblong_cells():
    views = lingbot_views(PATHS["loop"](3))
    stretched = dataclasses.replace(
        views, intrinsics=views.intrinsics * [0.5, 1, 1, 1]
    )  # tokens twice as wide
    rows, cols = cell_grid(stretched).cell
    assert rows == 2 * cols


def test_cell_centres_are_means_of_their_tokens():
    """In the image plane; at ragged edges, too."""
    views = viewpoints(yaw_c2w([0, 0, 0]), grid=(22, 40))
    cells = CellGrid(grid=(22, 40), cell=(4, 7), chunk_frames=3)
    _, tokens = views.rays([0])
    plane = tokens[0, :, :2] / tokens[0, :, 2:]
    centres = cells.directions(views, views.intrinsics[:1])[0]
    for cell in range(cells.num_cells):
        expected = plane[cells.cell_of_token == cell].mean(axis=0)
        np.testing.assert_allclose(centres[cell, :2] / centres[cell, 2], expected, atol=1e-12)


def test_packed_tokens_by_hand():
    cells = CellGrid(grid=(2, 5), cell=(2, 2), chunk_frames=2)  # cells 0, 1 of 4 tokens, 2 of 2
    packed = CellTokens(cells, np.array([1, 2, 3], dtype=np.int16), cut_cell=3, cut_tokens=3)
    assert packed.unpack().tolist() == [2, 3, 4, 7, 8, 9, 10, 11, 15]
    assert packed.count == 9


def naive(rays, views, chunk, candidates, budget):
    """The rule in plain loops: where each ray lands in each frame, rank by rank; {(frame, cell): tokens}."""
    cells = cell_grid(views)
    rows, cols = cells.shape
    width_px, height_px = cells.cell_px(views)
    level_rad = rays.tolerance * cells.pitch_rad(views)
    local = cells.directions(views, views.intrinsics)
    cone = np.arccos(local[..., 2].min())
    ranked = []
    for coming in views.frames_of(chunk):
        for query in local[coming] @ views.c2w[coming, :3, :3].T:
            row = []
            for frame in (f for past in candidates for f in views.frames_of(past)):
                offset = views.positions[coming] - views.positions[frame]
                aim, half = naive_arc(rays, views, query, offset)
                x, y, z = views.c2w[frame, :3, :3].T @ aim
                z = max(z, np.cos(cone))
                fx, fy, cx, cy = views.intrinsics[frame]
                col = int(np.clip((fx * x / z + cx) / width_px, 0, cols - 1))
                cell = int(np.clip((fy * y / z + cy) / height_px, 0, rows - 1)) * cols + col
                ray = views.c2w[frame, :3, :3] @ local[frame, cell]
                distance = angle(ray, aim) + half + rays.translation_weight * np.linalg.norm(offset)
                if rays.max_distance is None or distance <= rays.max_distance:
                    age = frame if rays.order == "older" else -frame
                    row.append((int(distance / level_rad + LEVEL_OFFSET), age, cell, frame))
            ranked.append(few_copies(rays, row))
    taken, left = {}, budget
    for rank in range(max(map(len, ranked))):
        for _, _, cell, frame in sorted(row[rank] for row in ranked if rank < len(row)):
            if (frame, cell) not in taken and left:
                taken[frame, cell] = min(left, int(cells.sizes[cell]))
                left -= taken[frame, cell]
    return taken


def picked(views, selections):
    cells = cell_grid(views)
    found = {}
    for selection in selections:
        frame, token = np.divmod(selection.tokens, views.tokens_per_frame)
        for f, cell in zip(frame + 3 * selection.chunk, cells.cell_of_token[token], strict=True):
            found[int(f), int(cell)] = found.get((int(f), int(cell)), 0) + 1
    return found


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    budget=st.integers(50, 500),
    max_distance=st.sampled_from([None, 0.6]),
    order=st.sampled_from(["older", "newer"]),
    weight=st.sampled_from([0.0, 1.0]),
    near_depth=st.sampled_from([None, math.inf, 0.5]),
    copies=st.sampled_from([None, 1, 3]),
    chunk_copies=st.sampled_from([None, 1]),
    grid=st.sampled_from([GRID, (11, 17)]),
)
def test_cells_equal_the_naive_definition(
    seed, budget, max_distance, order, weight, near_depth, copies, chunk_copies, grid
):
    """With zoom and pitch; few frames, so that all are looked at. What is left over goes to neighbours."""
    rays = Rays(
        near_depth=near_depth,
        translation_weight=weight,
        max_distance=max_distance,
        copies=copies,
        chunk_copies=chunk_copies,
        order=order,
    )
    views = random_walk(5, seed, grid=grid, turn_rad=0.15, stride=0.1)
    mine = picked(views, rays.select(views, 4, range(4), budget))
    plain = naive(rays, views, 4, range(4), budget)
    if sum(plain.values()) == budget or copies is not None:
        assert mine == plain
    else:
        assert plain.items() <= mine.items()


def test_one_by_one_equals_all_at_once(monkeypatch):
    views = random_walk(30, seed=2, grid=GRID, turn_rad=0.3)
    asked = [(chunk, range(1, max(1, chunk - 1))) for chunk in range(30)]
    together = [picked(views, s) for s in Rays().select_all(views, asked, BUDGET)]
    apart = [picked(views, Rays().select(views, c, past, BUDGET)) for c, past in asked]
    monkeypatch.setattr(ray_search, "BLOCK_CHUNKS", 3)
    assert together == apart == [picked(views, s) for s in Rays().select_all(views, asked, BUDGET)]
    assert together[0] == together[1] == {}


def test_candidates_that_are_no_common_prefix_are_searched_one_by_one():
    views = random_walk(12, seed=3, grid=GRID)
    asked = [(9, range(1, 5)), (10, range(2, 4)), (11, range(9))]
    together = [picked(views, s) for s in Rays().select_all(views, asked, BUDGET)]
    assert together == [picked(views, Rays().select(views, c, past, BUDGET)) for c, past in asked]


@pytest.mark.parametrize("seed", range(4))
def test_selections_are_sorted_grouped_and_within_the_budget(seed):
    views = random_walk(40, seed, grid=GRID)
    for chunk in range(10, 40):
        selections = Rays().select(views, chunk, range(1, chunk - 1), BUDGET)
        assert len({s.chunk for s in selections}) == len(selections)
        assert sum(len(s.tokens) for s in selections) == BUDGET
        for s in selections:
            assert (np.diff(s.tokens) > 0).all()
            assert 0 <= s.tokens[0] <= s.tokens[-1] < 3 * 192
            assert s.picked.count == len(s.tokens)
            assert 1 <= s.chunk < chunk - 1


@pytest.mark.parametrize(("order", "chunks"), [("older", [0, 1]), ("newer", [18, 17])])
def test_a_camera_that_holds_still_takes_whole_frames_in_order_of_age(order, chunks):
    views = viewpoints(yaw_c2w(np.zeros(60)), grid=GRID)
    selections = Rays(order=order).select(views, 19, range(19), 5 * 192)
    assert [s.chunk for s in selections] == chunks
    assert [len(s.tokens) for s in selections] == [3 * 192, 2 * 192]
    assert [s.score for s in selections] == [0.0, 0.0]


def test_laps_bring_back_the_oldest():
    views = lingbot_views(PATHS["orbit"](12 * 60, lap_frames=60))
    selections = Rays().select(views, 230, range(1, 228), 3 * 1560)
    assert max(s.chunk for s in selections) < 60  # three laps fill the budget, whatever came later
    assert max(s.score for s in selections) < 0.02


def test_the_gate_leaves_out_what_no_ray_is_near():
    views = viewpoints(yaw_c2w(np.repeat([180, 150, 0], 3)), grid=GRID)
    assert Rays(max_distance=0.5).select(views, 2, range(2), BUDGET) == []
    near = viewpoints(yaw_c2w(np.repeat([180, 60, 0], 3)), grid=GRID)
    gated = Rays(max_distance=0.2).select(near, 2, range(2), 3 * 192)
    assert [s.chunk for s in gated] == [1]
    assert 0 < len(gated[0].tokens) < 3 * 192 / 2  # the overlapping part of the view


def test_where_the_world_lies_does_not_matter():
    near = random_walk(30, seed=8, grid=GRID)
    c2w = near.c2w.copy()
    c2w[:, :3, 3] += [1e5, -2e5, 3e5]
    far = dataclasses.replace(near, c2w=c2w)
    one, two = (Rays().select(v, 29, range(1, 28), BUDGET) for v in (near, far))
    assert picked(near, one) == picked(far, two)


@pytest.mark.parametrize("path", PATHS)
def test_the_search_loses_nothing_that_matters(path):
    """Against all rays with all cells of all frames, every cell taken for itself by the token rule."""
    chunks, weight, c2w = 100, 1.0, PATHS[path](300)
    views, coarse = lingbot_views(c2w, grid=(30, 54)), lingbot_views(c2w, grid=(5, 9))
    cells, budget = 45, 9 * 45
    origins, directions = coarse.rays(range(300))
    asked = [(chunk, range(1, chunk - 1)) for chunk in range(4, chunks)]
    rays = Rays(near_depth=math.inf, translation_weight=weight)
    mine = dict(zip((c for c, _ in asked), rays.select_all(views, asked, 36 * budget), strict=True))
    for chunk in range(20, chunks, 39):
        exact = rays.select(coarse, chunk, range(1, chunk - 1), budget)
        exact = {(3 * s.chunk * cells + int(t)) for s in exact for t in s.tokens}
        fast = {f * cells + c for f, c in picked(views, mine[chunk])}
        assert len(exact & fast) >= 0.6 * len(exact)
        for frame in coarse.frames_of(chunk):
            nearest = []
            for taken in (np.array(sorted(exact)), np.array(sorted(fast))):
                cosines = directions[frame] @ directions[taken // cells, taken % cells].T
                gaps = weight * np.linalg.norm(origins[taken // cells] - origins[frame], axis=1)
                nearest.append((np.arccos(np.clip(cosines, -1, 1)) + gaps).min(axis=1))
            level = 0.25 * coarse.token_pitch_rad
            assert (nearest[1] <= nearest[0] + 1.01 * level).all()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), copies=st.integers(1, 4), slack=st.sampled_from([0.02, 0.1, 0.3]))
def test_frames_left_out_have_enough_older_ones_close_by(seed, copies, slack):
    """The bound on what is lost by leaving out copies."""
    views = random_walk(60, seed, grid=(2, 2), turn_rad=0.02, stride=0.01)
    views = dataclasses.replace(views, intrinsics=np.tile([32.0, 32.0, 32.0, 24.0], (180, 1)))
    index = frame_index(
        views, np.arange(180), cones=np.full(180, 0.8), copies=copies, slack_rad=slack, weight=1.5
    )
    rotations = views.c2w[:, :3, :3]
    for left_out in set(range(180)) - set(index.frames.tolist()):
        older = index.frames[index.frames < left_out]
        cosines = (np.einsum("fij,ij->f", rotations[older], rotations[left_out]) - 1) / 2
        gaps = np.linalg.norm(views.positions[older] - views.positions[left_out], axis=1)
        apart = np.arccos(np.clip(cosines, -1, 1)) + 1.5 * gaps
        assert (apart <= slack + 1e-9).sum() >= copies


def test_zoom_is_no_copy():
    views = viewpoints(yaw_c2w(np.zeros(6)))
    zoomed = dataclasses.replace(
        views, intrinsics=views.intrinsics * np.array([[1.0], [1], [1], [1.5], [1], [1]])
    )
    index = frame_index(zoomed, np.arange(6), cones=np.ones(6), copies=1, slack_rad=0.1, weight=1.0)
    assert index.frames.tolist() == [0, 3]
