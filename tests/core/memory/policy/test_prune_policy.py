import itertools

import numpy as np
import pytest

from core.errors import InputError
from core.memory.prune_policy import Pruning, kept_tokens
from tests.core.memory.policy.cameras import random_walk, spin, viewpoints, yaw_c2w

TOKENS = 12


@pytest.mark.parametrize(
    ("keep_ratio", "tokens_per_frame", "kept"),
    [(0.25, 1560, 390), (0.55, 1560, 859), (0.5, 15, 8), (0.3, 15, 5), (0.001, 15, 1), (1.0, 15, 15)],
)
def test_kept_counts(keep_ratio, tokens_per_frame, kept):
    pruning = Pruning(rule="key", keep_ratio=keep_ratio)
    assert pruning.kept_per_frame(tokens_per_frame) == kept
    assert pruning.kept_per_chunk(tokens_per_frame, 3) == tokens_per_frame + 2 * kept


def test_without_a_rule_nothing_is_dropped():
    pruning = Pruning(keep_ratio=0.25)
    assert pruning.kept_per_chunk(15, 3) == 45
    np.testing.assert_array_equal(kept_tokens(pruning, spin(2), 1), np.arange(36))


def test_keys_decide_at_run_time():
    assert kept_tokens(Pruning(rule="key", keep_ratio=0.5), spin(2), 1) is None
    assert Pruning(rule="key", keep_ratio=0.5).needs_keys
    np.testing.assert_array_equal(kept_tokens(Pruning(rule="key"), spin(2), 1), np.arange(36))


@pytest.mark.parametrize(
    ("rule", "pooled", "keep_ratio"),
    [*itertools.product(["view", "random", "stride"], [False, True], [0.01, 0.25, 0.5, 0.9, 1.0])],
)
def test_the_anchor_stays_whole_and_the_budget_is_met(rule, pooled, keep_ratio):
    pruning = Pruning(rule=rule, keep_ratio=keep_ratio, pooled=pooled)
    keep = pruning.kept_per_frame(TOKENS)
    for views in (random_walk(3, seed=1), viewpoints(yaw_c2w(np.zeros(9)))):
        for chunk in range(3):
            kept = kept_tokens(pruning, views, chunk)
            assert (np.diff(kept) > 0).all()
            np.testing.assert_array_equal(kept[:TOKENS], np.arange(TOKENS))
            per_frame = np.bincount(kept // TOKENS, minlength=3)
            assert per_frame.sum() == TOKENS + 2 * keep
            if not pooled:
                assert list(per_frame) == [TOKENS, keep, keep]


def test_view_keeps_what_the_anchor_did_not_see():
    # The camera turns right: the right column of each later frame is new.
    views = viewpoints(yaw_c2w([0, 20, 40]))
    kept = kept_tokens(Pruning(rule="view", keep_ratio=0.25), views, 0)
    columns = kept[TOKENS:] % 4
    frames = kept[TOKENS:] // TOKENS
    assert list(columns[frames == 2]) == [3, 3, 3]
    pooled = kept_tokens(Pruning(rule="view", keep_ratio=0.25, pooled=True), views, 0)
    assert set(pooled[TOKENS:] // TOKENS) <= {1, 2}
    assert {11 + 24, 3 + 24} & set(pooled.tolist())


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_view_takes_the_farthest_ray_each_time(pooled, seed):
    views = random_walk(2, seed)
    pruning = Pruning(rule="view", keep_ratio=0.3, pooled=pooled, translation_weight=0.5)
    origins, directions = views.rays(range(3, 6))
    keep = pruning.kept_per_frame(TOKENS)

    def distance(a, b):
        cosine = np.clip(directions[a // TOKENS, a % TOKENS] @ directions[b // TOKENS, b % TOKENS], -1, 1)
        return np.arccos(cosine) + 0.5 * np.linalg.norm(origins[a // TOKENS] - origins[b // TOKENS])

    kept = list(range(TOKENS))
    for _ in range(2 * keep):
        frames = [k // TOKENS for k in kept]
        free = [
            t for t in range(TOKENS, 36) if t not in kept and (pooled or frames.count(t // TOKENS) < keep)
        ]
        kept.append(max(free, key=lambda t: min(distance(t, k) for k in kept)))
    np.testing.assert_array_equal(kept_tokens(pruning, views, 1), sorted(kept))


def test_a_camera_that_holds_still_keeps_tokens_all_over_the_frame():
    kept = kept_tokens(Pruning(rule="view", keep_ratio=0.5), viewpoints(yaw_c2w(np.zeros(3))), 0)
    rows = (kept[TOKENS:] % TOKENS) // 4
    assert min(np.bincount(rows, minlength=3)) >= 2


def test_random_is_fixed_by_seed_and_chunk():
    views = spin(3)
    first = [kept_tokens(Pruning(rule="random", keep_ratio=0.5), views, c).tolist() for c in range(3)]
    again = [kept_tokens(Pruning(rule="random", keep_ratio=0.5), views, c).tolist() for c in range(3)]
    other = [kept_tokens(Pruning(rule="random", keep_ratio=0.5, seed=1), views, c).tolist() for c in range(3)]
    assert first == again
    assert first != other
    assert first[0] != first[1]


def test_stride_is_even():
    kept = kept_tokens(Pruning(rule="stride", keep_ratio=0.25), spin(1), 0)
    assert kept[TOKENS:].tolist() == [14, 18, 22, 26, 30, 34]


def test_on_use_the_bank_holds_whole_chunks():
    pruning = Pruning(rule="key", keep_ratio=0.5, when="use")
    np.testing.assert_array_equal(kept_tokens(pruning, spin(2), 1), np.arange(36))
    assert (pruning.needs_keys, pruning.keys_on_store, pruning.keys_on_use) == (True, False, True)
    assert pruning.kept_per_chunk(TOKENS, 3) == 24


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"rule": "view", "when": "use"}, "pruning on use is by keys and per frame"),
        ({"rule": "key", "when": "use", "pooled": True}, "pruning on use is by keys and per frame"),
        ({"rule": "key", "rotate_anchor": True}, "known on use only"),
    ],
)
def test_impossible_times_of_pruning_are_refused(settings, problem):
    with pytest.raises(InputError, match=problem):
        Pruning(keep_ratio=0.5, **settings)


@pytest.mark.parametrize("keep_ratio", [0.0, -0.5, 1.01, float("nan")])
def test_impossible_keep_ratios_are_refused(keep_ratio):
    with pytest.raises(InputError, match=r"keep_ratio must lie in \(0, 1\]") as error:
        Pruning(rule="view", keep_ratio=keep_ratio)
    assert error.value.hint == "0.25 halves a chunk; 1 turns pruning off"
