"""Rollouts of the same settings together, and settings against each other."""

import json
from pathlib import Path

import numpy as np
import pytest

from core.config import GenerateConfig
from core.errors import InputError
from core.evaluation.against import RETRIEVAL_KEYS, baseline_config
from core.evaluation.groups import (
    differences_of,
    estimate,
    few_rollouts_note,
    groups_of,
    repeats_note,
    value_of,
)
from core.evaluation.output import SCHEMA_PATH, check_csv, eval_json_schema, write_csv
from core.evaluation.plot import binned, check_plot, draw_plot
from core.evaluation.protocol import Protocol
from core.evaluation.subjects import group_names, settings_of
from core.memory_settings import _RETRIEVAL_KEYS
from core.schemas.eval import EvalReport, Gain, PairMeans, PairRecord, ProtocolRecord, RunScore


def run(group: str, rollout: str, gain: float, memory: str = "worldkv") -> RunScore:
    def pair(later: int, psnr: float, kind: str = "revisit") -> PairRecord:
        return PairRecord.model_validate(
            {
                "kind": kind,
                "later": later,
                "earlier": later - 30,
                "gap_frames": 30,
                "distance": 0.1,
                "psnr_db": psnr,
                "ssim": 0.5,
                "sharpness": 1.0,
                "shifted_psnr_db": psnr,
                "shift_px": (1, -2),
            }
        )

    means = PairMeans(pairs=2, psnr_db=10 + gain, ssim=0.5, sharpness=1.0, shifted_psnr_db=11 + gain)
    return RunScore(
        folder=f"runs/{group}-{rollout}",
        group=group,
        rollout=rollout,
        model="mini",
        trajectory="loop",
        seed=0,
        world_seed=0,
        memory=memory,
        status="done",
        frames=60,
        fps=16.0,
        gain=Gain(psnr_db=gain, ssim=0.1, shifted_psnr_db=gain),
        revisit=means,
        control=means.model_copy(update={"psnr_db": 10.0}),
        control_gap_off_frames=0.0,
        motion=5.0,
        start_sharpness=0.9,
        raw=None,
        truth=None,
        no_truth="",
        retrieval=None,
        pairs=(pair(40, 10 + gain), pair(50, 10 + gain), pair(41, 10.0, "control")),
    )


RUNS = [
    *(run("worldkv", f"r{i}", 10.0 + i) for i in range(4)),
    *(run("full", f"r{i}", 8.0 + i, "full") for i in range(3)),
    run("sliding", "other", 0.0, "sliding"),
]


def report(runs: list[RunScore]) -> EvalReport:
    groups = groups_of(runs, {})
    return EvalReport(
        protocol=ProtocolRecord(
            max_distance=0.15, min_gap_frames=30, max_pairs=64, control_distance=0.3, seed=0
        ),
        missing={"lpips": "LPIPS needs the weights of AlexNet"},
        baselines=(),
        runs=tuple(runs),
        groups=groups,
        differences=differences_of(runs),
        notes=(few_rollouts_note(groups),),
    )


def test_means_over_rollouts() -> None:
    worldkv, full, sliding = groups_of(RUNS, {"full": {"memory": "full"}})
    gain = worldkv.estimates["gain_psnr_db"]
    assert (worldkv.rollouts, gain.mean, gain.rollouts) == (4, 11.5, 4)
    assert gain.low is not None
    assert gain.high is not None
    assert 10.0 <= gain.low < 11.5 < gain.high <= 13.0
    assert full.settings == {"memory": "full"}
    alone = sliding.estimates["gain_psnr_db"]
    assert (alone.mean, alone.low, alone.high) == (0.0, None, None)
    assert "truth_given_psnr_db" not in worldkv.estimates


def test_differences_are_paired() -> None:
    """The worlds differ by 3 dB, the modes always by 2: no spread is left."""
    (difference,) = differences_of(RUNS)  # sliding shares no rollout
    assert (difference.group, difference.baseline, difference.rollouts) == ("worldkv", "full", 3)
    gain = difference.estimates["gain_psnr_db"]
    assert (gain.mean, gain.low, gain.high) == pytest.approx((2.0, 2.0, 2.0))


def test_an_interval_is_over_rollouts_not_over_pairs() -> None:
    assert estimate([1.0]).low is None
    wide = estimate([1.0, 9.0])
    assert (wide.low, wide.high) == (1.0, 9.0)


def test_a_rollout_counts_once() -> None:
    """Two folders of one rollout would make an interval of width zero."""
    copy = RUNS[4].model_copy(update={"folder": "runs/copy", "gain": None})
    other = RUNS[5].model_copy(update={"folder": "runs/again"})
    (full,) = groups_of([RUNS[4], copy], {})
    assert (full.rollouts, full.estimates["gain_psnr_db"].low) == (1, None)
    assert groups_of([*RUNS, copy, other], {}) == groups_of(RUNS, {})
    assert differences_of([*RUNS, copy, other]) == differences_of(RUNS)
    assert repeats_note(RUNS) == ""
    assert repeats_note([*RUNS, copy, other]) == (
        "the same rollout counts once in means and differences, without "
        "runs/copy (as runs/full-r0), runs/again (as runs/full-r1)"
    )


def test_baselines_have_none_of_the_settings_of_retrieval() -> None:
    assert set(_RETRIEVAL_KEYS) <= set(RETRIEVAL_KEYS)
    made = {"strategy": "rays", "order": "newer", "copies": 2, "commit": "last", "seed": 3}
    config = baseline_config(GenerateConfig.model_validate(made), "full")
    assert config == GenerateConfig(memory="full", commit="last", seed=3)


def test_numbers_by_their_names() -> None:
    assert value_of(RUNS[0], "gain.psnr_db") == 10.0
    assert value_of(RUNS[0], "truth.given_psnr_db") is None
    assert value_of(RUNS[0], "motion") == 5.0


@pytest.mark.parametrize(
    ("count", "told"), [(1, "one rollout tells no spread"), (3, "intervals from 3 rollouts"), (8, "")]
)
def test_few_rollouts_are_said(count: int, told: str) -> None:
    note = few_rollouts_note(groups_of([run("sink", f"r{i}", 1.0) for i in range(count)], {}))
    assert note.startswith(told)
    assert bool(note) == bool(told)


def test_groups_are_named_by_what_differs() -> None:
    made = [
        {"memory": "worldkv", "seed": 3},
        {"memory": "worldkv", "retrieve": 1.0, "strategy": "rays"},
        {"memory": "worldkv", "retrieve": 2.0, "strategy": "rays"},
        {"memory": "full", "seed": 4},
    ]
    settings = [settings_of(GenerateConfig.model_validate(each)) for each in made]
    names = ["worldkv, defaults", "worldkv, retrieve 1, strategy rays", "worldkv, retrieve 2, strategy rays"]
    assert group_names(settings) == [*names, "full"]
    assert group_names(settings[:1]) == ["worldkv"]


def names_of(*made: tuple[dict[str, object], dict[str, object]]) -> list[str]:
    """Group names of runs, from settings and the log's plan."""
    return group_names([settings_of(GenerateConfig.model_validate(config), plan) for config, plan in made])


def test_checkpoints_tell_groups_apart(tmp_path: Path) -> None:
    a, b = ({"model": "lingbot", "checkpoint": str(tmp_path / name)} for name in "ab")
    assert names_of((a, {}), (b, {})) == [f"worldkv, checkpoint {tmp_path / name}" for name in "ab"]
    found = {"checkpoint": str(tmp_path / "a")}  # by itself, or because somebody said so
    assert names_of(({"model": "lingbot"}, found), (a, found)) == ["worldkv", "worldkv"]


NATIVE: dict[str, object] = {"bank_precision": "native", "prune": "none", "keep_ratio": 1.0}


def test_what_budgets_made_of_it_tells_groups_apart() -> None:
    allowed: dict[str, object] = {"allow": "int8,prune", "ram_budget": 1000}
    int8 = NATIVE | {"bank_precision": "int8"}
    assert names_of((allowed, NATIVE), (allowed, int8)) == [
        "worldkv, defaults",
        "worldkv, bank_precision int8",
    ]
    assert names_of((allowed, NATIVE), ({}, NATIVE)) == ["worldkv", "worldkv"]  # there was room
    assert names_of((allowed, int8), ({"bank_precision": "int8"}, int8)) == ["worldkv", "worldkv"]


def test_pruning_for_want_of_room_is_not_pruning_of_all_chunks() -> None:
    pruned = NATIVE | {"prune": "view", "keep_ratio": 0.25}
    thin = {"allow": "prune", "ram_budget": 1000}
    asked, less, more = names_of(
        ({"keep_ratio": 0.25}, pruned), (thin, pruned), (thin | {"ram_budget": 2000}, pruned)
    )
    assert asked == "worldkv, defaults"
    assert less == "worldkv, pruned some chunks, ram_budget 1000"
    assert more == "worldkv, pruned some chunks, ram_budget 2000"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"max_distance": 0.0}, "must be above 0"),
        ({"max_distance": float("nan")}, "must be above 0"),
        ({"max_distance": 0.3}, r"must be below 0\.3, got 0\.3: controls may lie that near"),
        ({"min_gap_frames": 0}, "min-gap must be at least 1"),
        ({"max_pairs": 0}, "max-pairs must be at least 1"),
    ],
)
def test_protocols_that_make_no_sense(settings: dict[str, float], told: str) -> None:
    with pytest.raises(InputError, match=told):
        Protocol(**settings)


def test_schema_is_up_to_date() -> None:
    assert json.loads(SCHEMA_PATH.read_text()) == eval_json_schema(), "run write_eval_json_schema()"


def test_csv_has_a_line_a_pair(tmp_path: Path) -> None:
    write_csv(report(RUNS), tmp_path / "pairs.csv")
    lines = (tmp_path / "pairs.csv").read_text().splitlines()
    assert len(lines) == 1 + 3 * len(RUNS)
    head, first = (line.split(",") for line in lines[:2])
    row = dict(zip(head, first, strict=True))
    assert (row["group"], row["kind"], row["later"], row["psnr_db"]) == ("worldkv", "revisit", "40", "20.0")
    assert (row["shift_right_px"], row["shift_down_px"], row["lpips"]) == ("1", "-2", "")
    with pytest.raises(InputError, match="there is no such folder"):
        check_csv(tmp_path / "nowhere" / "pairs.csv")
    with pytest.raises(InputError, match="this is a folder"):
        check_csv(tmp_path)


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_plot_is_drawn(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"plot.{kind}"
    check_plot(path)
    draw_plot(report(RUNS), path)
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG" if kind == "png" else b"<?xml")
    if kind == "svg":
        text = data.decode()
        for label in ("PSNR against the earlier frame (dB)", "worldkv: revisits", "+11.5 dB", "sliding"):
            assert label in text


def test_plots_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a plot is a \.png or \.svg file"):
        check_plot(tmp_path / "plot.pdf")
    with pytest.raises(InputError, match="there is no such folder"):
        check_plot(tmp_path / "nowhere" / "plot.png")
    draw_plot(report([RUNS[0].model_copy(update={"pairs": (), "gain": None})]), tmp_path / "empty.png")
    assert (tmp_path / "empty.png").stat().st_size > 1000


def test_points_of_one_time_stay_together() -> None:
    x = np.array([1.0, 5.0, 5.0, 5.0, 5.0, 9.0])
    curve = binned(x, x * 2)
    assert sorted(set(curve.x)) == list(curve.x)
    assert np.allclose(curve.y, curve.x * 2)
