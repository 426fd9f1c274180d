import numpy as np
import pytest

from core.memory import view_prune
from core.memory.prune_policy import Pruning, kept_tokens
from tests.benchmarks.long_paths import PATHS, lingbot_views

TOKENS = 1560


def farthest_gap(views, chunk, kept):
    """Distance of the token that is farthest from all kept ones."""
    origins, directions = views.rays(views.frames_of(chunk))
    flat, frame_of = directions.reshape(-1, 3), np.repeat(np.arange(3), TOKENS)
    away = np.full(len(flat), np.inf)
    for frame in range(3):
        of_frame = kept[kept // TOKENS == frame]
        gaps = np.linalg.norm(origins - origins[frame], axis=1)[frame_of]
        cosines = (flat @ flat[of_frame].T).max(axis=1)
        away = np.minimum(away, np.arccos(np.clip(cosines, -1, 1)) + gaps)
    return away.max()


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("keep_ratio", [0.001, 0.25, 0.501, 1.0])
@pytest.mark.parametrize("path", ["walk", "orbit"])
def test_large_grids_meet_their_budgets(path, keep_ratio, pooled):
    views = lingbot_views(PATHS[path](30))
    pruning = Pruning(rule="view", keep_ratio=keep_ratio, pooled=pooled)
    keep = pruning.kept_per_frame(TOKENS)
    for chunk in range(10):
        kept = kept_tokens(pruning, views, chunk)
        assert (np.diff(kept) > 0).all()
        per_frame = np.bincount(kept // TOKENS, minlength=3)
        assert per_frame[0] == TOKENS
        assert per_frame.sum() == TOKENS + 2 * keep
        assert pooled or list(per_frame) == [TOKENS, keep, keep]


@pytest.mark.parametrize("path", PATHS)
def test_cells_cover_the_view_nearly_as_well_as_tokens(monkeypatch, path):
    views = lingbot_views(PATHS[path](60))
    pruning = Pruning(rule="view", keep_ratio=0.1)
    by_cell = kept_tokens(pruning, views, 15)
    monkeypatch.setattr(view_prune, "MAX_CELLS", TOKENS)
    by_token = kept_tokens(pruning, views, 15)
    assert by_token.tolist() != by_cell.tolist()
    pitch = views.token_pitch_rad
    assert farthest_gap(views, 15, by_cell) <= farthest_gap(views, 15, by_token) + 2 * pitch


def test_equal_geometry_is_pruned_once():
    views = lingbot_views(PATHS["orbit"](300))
    view_prune._chosen.cache_clear()
    kept = [kept_tokens(Pruning(rule="view", keep_ratio=0.25), views, chunk) for chunk in range(100)]
    assert view_prune._chosen.cache_info().misses == 1
    assert all(np.array_equal(kept[0], other) for other in kept)
    walked = lingbot_views(PATHS["walk"](60))
    view_prune._chosen.cache_clear()
    for chunk in range(20):
        kept_tokens(Pruning(rule="view", keep_ratio=0.25), walked, chunk)
    assert view_prune._chosen.cache_info().misses > 1
