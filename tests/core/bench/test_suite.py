"""Suites: what is played, in which order, and what is wrong with a file."""

from dataclasses import replace
from typing import get_args

import pytest

from core.bench.cells import task_key
from core.bench.scripts import STUDY_SCRIPTS
from core.bench.setting import Setting
from core.bench.suite import load_suite
from core.bench.suite_file import By
from core.errors import InputError
from tests.core.bench.small import SUITE, small_file, small_suite


@pytest.mark.parametrize("name", ["full", "quick"])
def test_bundled_suites_hold_together(name):
    suite = load_suite(name)
    assert suite.name == name
    assert len(set(suite.tasks())) == len(suite.tasks())
    for family in suite.families:
        for pair in family.pairs:
            assert pair.b != (pair.a,)
            assert {pair.a, *pair.b} <= set(family.settings)


def test_the_evidence_is_on_worlds_that_decided_nothing_before():
    suite = load_suite("full")
    assert suite.first_world >= 32
    assert suite.num_worlds >= 32


def test_lists_are_multiplied_out_and_nothing_is_played_twice(tmp_path):
    suite = small_suite(tmp_path)
    rays, modes = suite.families
    assert [s.label for s in rays.settings] == ["rays 20", "rays 45", "pose 45"]
    assert [p.words for p in rays.pairs] == ["rays 45 over pose"]
    assert [p.words for p in modes.pairs] == ["rays over sliding"]
    assert [(t.setting.label, t.given) for t in suite.tasks()] == [
        ("rays 20", True), ("rays 45", True), ("pose 45", True),
        ("rays 20", False), ("rays 45", False), ("pose 45", False),
        ("sliding", True),
    ]  # fmt: skip
    assert suite.tasks()[0].script.trajectory().num_frames == 15


def test_worlds_can_be_fewer(tmp_path):
    assert load_suite(small_file(tmp_path), worlds=1).tasks()[0].num_worlds == 1


def test_only_some_families(tmp_path):
    suite = small_suite(tmp_path)
    assert [family.name for family in suite.only(["m*"]).families] == ["modes"]
    assert suite.only([]) is suite
    with pytest.raises(InputError, match="no family matches mode") as error:
        suite.only(["mode"])
    assert error.value.hint == "did you mean modes?"


@pytest.mark.parametrize(
    ("before", "after", "problem", "hint"),
    [
        ("worlds: 2", "world: 2", "unknown key 'world'", "did you mean worlds?"),
        (
            "{strategy: pose, tokens: 45}",
            "{strategi: pose, tokens: 45}",
            "unknown key 'strategi'",
            "strategy?",
        ),
        ("title: Memory modes", "titel: Memory modes", "unknown key 'titel'", "did you mean title?"),
        ("version: 1\n", "", "missing key 'version'", "add `version: ...`"),
        ("given_chunks: 2", "given_chunks: 9", "has 5 chunks, of which 9 cannot be given", "at most 4"),
        ("yaw_deg: 60", "yaw: 60", "yaw", ""),
        ("mode: sliding}", "mode: slidng}", "slidng", ""),
        ("tokens: 45}\n    against", "tokens: 46}\n    against", "in steps of 45 tokens", "a chunk has 45"),
        ("name: modes", "name: rays", "two families are called 'rays'", ""),
    ],
)
def test_what_is_wrong_is_named(tmp_path, before, after, problem, hint):
    assert before in SUITE
    path = small_file(tmp_path, SUITE.replace(before, after))
    with pytest.raises(InputError) as error:
        load_suite(path)
    assert problem in error.value.problem
    assert hint in error.value.hint
    assert "small.yaml" in error.value.where


@pytest.mark.parametrize(
    ("before", "after", "problem", "where"),
    [
        ("by: strategy", "by: keepratio", "families[0].by: input should be 'mode'", ":13:9"),
        ("tokens: [20, 45]", "tokens: ~", "'tokens' has no value", ":15:"),
        ("tokens: [20, 45]", "tokens: []", "families[0].settings[0].tokens: the list is empty", ":15:"),
        ("tokens: [20, 45]", "tokens: 45, keep_ratio: ~", "'keep_ratio' has no value", ":15:"),
        (
            "strategy: rays, tokens: [20, 45]",
            "strategy: [rays, pose], tokens: 45, gate: 0.2",
            "pose has no gate",
            "(families[0].settings[0].gate)",
        ),
        (
            "strategy: rays, tokens: [20, 45]",
            "strategy: coverage, tokens: 45, gate: 2",
            "a share of the view in (0, 1], got 2",
            "(families[0].settings[0].gate)",
        ),
        (
            "against: {strategy: pose}",
            "against: {chunks: 1}",
            "tokens, not chunks",
            "(families[0].against.chunks)",
        ),
        (
            "against: {strategy: pose}",
            "against: {tokens: [1, 2]}",
            "not a list",
            "(families[0].against.tokens)",
        ),
        (
            "a: {strategy: rays, tokens: 45}",
            "a: {strategy: rays, tokens: [45, 46]}",
            "a pair compares one setting",
            "(families[1].pairs[0].a)",
        ),
        (
            "b: {mode: sliding}}",
            "b: {mode: sliding, tokens: 4}}",
            "mode sliding retrieves nothing: tokens",
            "(families[1].pairs[0].b.tokens)",
        ),
    ],
)
def test_what_does_not_go_together_is_told_with_its_key(tmp_path, before, after, problem, where):
    assert before in SUITE
    with pytest.raises(InputError) as error:
        load_suite(small_file(tmp_path, SUITE.replace(before, after)))
    assert problem in error.value.problem
    assert where in error.value.where
    assert "small.yaml:" in error.value.where


def test_curves_differ_in_a_field_of_a_setting():
    assert set(get_args(By)) == set(Setting(tokens=1).key)


def test_a_setting_is_compared_with_the_mean_of_several(tmp_path):
    text = SUITE.replace("b: {mode: sliding}}", "b: {mode: [sliding, full]}}")
    family = load_suite(small_file(tmp_path, text)).families[1]
    assert [s.label for s in family.pairs[0].b] == ["sliding", "full"]
    assert [s.label for s in family.settings] == ["rays 45", "sliding", "full"]


def test_an_unknown_script_is_named(tmp_path):
    path = small_file(tmp_path, SUITE.replace("protocols: [given]", "scripts: [peak]"))
    with pytest.raises(InputError, match="unknown script 'peak'") as error:
        load_suite(path)
    assert error.value.hint == "did you mean 'peek'?"


def test_a_missing_suite_is_named(tmp_path):
    with pytest.raises(InputError, match="the suite cannot be read"):
        load_suite(tmp_path / "none.yaml")


def test_a_key_holds_all_that_decides(tmp_path):
    task = small_suite(tmp_path).tasks()[0]
    others = [
        replace(task, setting=Setting(tokens=21)),
        replace(task, setting=replace(task.setting, commit="last")),
        replace(task, script=STUDY_SCRIPTS[0]),
        replace(task, script=replace(task.script, given_chunks=1)),
        replace(task, given=not task.given),
        replace(task, first_world=33),
        replace(task, num_worlds=3),
    ]
    keys = {task_key(each, "w") for each in (task, *others)} | {task_key(task, "other weights")}
    assert len(keys) == len(others) + 2
    assert task_key(replace(task, batch=1), "w") == task_key(task, "w")
