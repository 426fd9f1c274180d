import numpy as np
import pytest

from core.errors import InputError
from core.memory.overlap import OverlapSampling, OverlapTable, overlap_table
from tests.core.memory.policy.cameras import random_walk, spin, viewpoints, yaw_c2w


def naive_visible(views, sampling, chunk, other):
    """Project every sample point with the textbook formula."""
    width, height = views.image_size
    seen = []
    for frame in views.frames_of(chunk):
        fx, fy, cx, cy = views.intrinsics[frame]
        for depth in sampling.depths:
            for row in range(sampling.rows):
                for column in range(sampling.columns):
                    u = (column + 0.5) * width / sampling.columns
                    v = (row + 0.5) * height / sampling.rows
                    point = np.array([(u - cx) / fx * depth, (v - cy) / fy * depth, depth, 1])
                    world = views.c2w[frame] @ point
                    hit = False
                    for past in views.frames_of(other):
                        x, y, z, _ = np.linalg.inv(views.c2w[past]) @ world
                        fx2, fy2, cx2, cy2 = views.intrinsics[past]
                        hit |= z > 0 and 0 <= fx2 * x / z + cx2 <= width and 0 <= fy2 * y / z + cy2 <= height
                    seen.append(hit)
    return seen


@pytest.mark.parametrize("seed", range(3))
def test_visibility_equals_projection_point_by_point(seed):
    views, sampling = random_walk(6, seed), OverlapSampling()
    table = OverlapTable(views, sampling)
    visible = table.visible(5, range(5))
    expected = [naive_visible(views, sampling, 5, other) for other in range(5)]
    np.testing.assert_array_equal(visible, expected)
    assert 0 < visible.mean() < 1
    np.testing.assert_allclose(table.overlaps(5, range(5)), np.mean(expected, axis=1))


def test_overlap_of_turns():
    yaw = [0, 0, 0, 45, 45, 45, 90, 90, 90, 180, 180, 180, 360, 360, 360]
    overlap = OverlapTable(viewpoints(yaw_c2w(yaw)), OverlapSampling()).overlaps(4, range(5))
    assert overlap[4] == overlap[0] == 1  # itself; a full turn comes home
    assert 0.2 < overlap[1] < 0.6  # half a field of view away
    assert overlap[2] == overlap[3] == 0


def test_overlap_does_not_depend_on_where_the_world_lies():
    near = random_walk(4, seed=1)
    moved = near.c2w.copy()
    moved[:, :3, 3] += [1e5, -2e5, 3e5]
    far = type(near)(c2w=moved, intrinsics=near.intrinsics, image_size=near.image_size, grid=near.grid)
    sampling = OverlapSampling()
    np.testing.assert_array_equal(
        OverlapTable(near, sampling).visible(3, range(3)), OverlapTable(far, sampling).visible(3, range(3))
    )


def test_blocks_do_not_show(monkeypatch):
    views = random_walk(8, seed=2)
    whole = OverlapTable(views, OverlapSampling()).visible(7, range(7))
    monkeypatch.setattr("core.memory.overlap.BLOCK_FRAMES", 6)
    np.testing.assert_array_equal(OverlapTable(views, OverlapSampling()).visible(7, range(7)), whole)


def test_no_other_chunks_no_overlap():
    assert OverlapTable(spin(2), OverlapSampling()).overlaps(1, range(0)).shape == (0,)


def test_the_table_is_built_once():
    views = spin(2)
    assert overlap_table(views, OverlapSampling()) is overlap_table(views, OverlapSampling())
    assert overlap_table(views, OverlapSampling()) is not overlap_table(spin(2), OverlapSampling())


@pytest.mark.parametrize("change", [{"columns": 0}, {"depths": ()}, {"depths": (-1.0,)}])
def test_impossible_sampling_is_refused(change):
    with pytest.raises(InputError, match="sample points"):
        OverlapSampling(**change)
