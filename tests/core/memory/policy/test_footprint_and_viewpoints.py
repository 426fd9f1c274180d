import numpy as np
import pytest

from core.errors import InputError
from core.memory.footprint import Footprint
from core.memory.viewpoints import Viewpoints
from tests.core.memory.policy.cameras import footprint, random_walk, spin, viewpoints, yaw_c2w


def test_footprint_counts_keys_and_values_of_all_layers():
    shapes = Footprint(
        num_layers=40, num_heads=40, head_dim=128, grid=(30, 52), kv_element_bytes=2, parameter_bytes=0
    )
    assert (shapes.tokens_per_frame, shapes.tokens_per_chunk) == (1560, 4680)
    assert shapes.kv_bytes_per_token == 2 * 40 * 5120 * 2


def test_footprint_refuses_nothing():
    with pytest.raises(InputError, match="positive sizes"):
        footprint((0, 4))


def test_rays_go_through_patch_centres():
    views = viewpoints(yaw_c2w([0.0, 90.0, 0.0], np.array([[0, 0, 0], [1, 2, 3], [0, 0, 0]])), (1, 2))
    origins, directions = views.rays([0, 1])
    np.testing.assert_array_equal(origins, [[0, 0, 0], [1, 2, 3]])
    side = 0.5 / np.hypot(0.5, 1)  # patch centres at 16 and 48 px: 16 px off the centre, focal length 32
    ahead = 1 / np.hypot(0.5, 1)
    np.testing.assert_allclose(directions[0], [[-side, 0, ahead], [side, 0, ahead]], atol=1e-12)
    # A quarter turn to the right: forward is +X, right is -Z.
    np.testing.assert_allclose(directions[1], [[ahead, 0, side], [ahead, 0, -side]], atol=1e-12)


def test_rays_are_unit_and_rows_come_before_columns():
    views = random_walk(2, seed=0)
    _, directions = views.rays(range(6))
    np.testing.assert_allclose(np.linalg.norm(directions, axis=-1), 1)
    _, flat = viewpoints(yaw_c2w([0, 0, 0])).rays([0])
    grid = flat.reshape(3, 4, 3)
    assert (np.diff(grid[..., 0], axis=1) > 0).all()  # columns to the right
    assert (np.diff(grid[..., 1], axis=0) > 0).all()  # rows downwards


def test_token_pitch_is_that_of_the_longest_lens():
    views = spin(1)
    assert views.token_pitch_rad == pytest.approx(np.arctan(0.5))
    zoomed = Viewpoints(
        c2w=views.c2w,
        intrinsics=views.intrinsics * np.array([[1], [2], [1]]),
        image_size=views.image_size,
        grid=views.grid,
    )
    assert zoomed.token_pitch_rad == pytest.approx(np.arctan(0.25))


@pytest.mark.parametrize(
    ("frames", "change", "problem"),
    [
        (4, {}, "do not fill whole chunks of 3"),
        (0, {}, "do not fill whole chunks of 3"),
        (3, {"grid": (0, 4)}, "must be positive"),
        (3, {"c2w": np.full((3, 4, 4), np.nan)}, "must be finite"),
        (3, {"intrinsics": np.zeros((3, 4))}, "focal lengths"),
    ],
)
def test_bad_viewpoints_are_refused(frames, change, problem):
    settings = {
        "c2w": yaw_c2w(np.zeros(frames)),
        "intrinsics": np.ones((frames, 4)),
        "image_size": (64, 48),
        "grid": (3, 4),
    }
    with pytest.raises(InputError, match=problem):
        Viewpoints(**(settings | change))
