"""Means over rollouts of the same settings, and paired differences between settings.

Intervals are over rollouts, never over the pairs of one: those share a world, a noise and a memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from core.fidelity.intervals import mean_interval
from core.schemas.eval import Difference, Estimate, GroupScore, RunScore

FEW_ROLLOUTS: Final = 8
"""Below this many, a bootstrap's intervals are too narrow, and a note says so."""

FIGURES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "gain_psnr_db": "gain.psnr_db",
        "gain_ssim": "gain.ssim",
        "gain_shifted_psnr_db": "gain.shifted_psnr_db",
        "gain_latent_distance": "gain.latent_distance",
        "gain_lpips": "gain.lpips",
        "revisit_psnr_db": "revisit.psnr_db",
        "control_psnr_db": "control.psnr_db",
        "sharpness": "revisit.sharpness",
        "start_sharpness": "start_sharpness",
        "motion": "motion",
        "truth_revisit_psnr_db": "truth.revisit_psnr_db",
        "truth_given_psnr_db": "truth.given_psnr_db",
        "truth_sharpness": "truth.sharpness",
        "retrieval_precision": "retrieval.precision",
        "retrieval_recall": "retrieval.recall",
        "view_covered": "retrieval.token_recall",
    }
)
"""What is averaged over rollouts, by its name in the report, and where a run's score has it."""


def value_of(run: RunScore, path: str) -> float | None:
    """A number of a run's score by its dotted name; None where the run has none.

    Args:
        run: A run.
        path: Such as "gain.psnr_db".
    """
    value: Any = run
    for name in path.split("."):
        value = getattr(value, name)
        if value is None:
            return None
    return float(value)


def counted_runs(runs: Sequence[RunScore]) -> list[RunScore]:
    """The first run of every rollout of every group: the same twice is no evidence, and would seem exact."""
    first: dict[tuple[str, str], RunScore] = {}
    for run in runs:
        first.setdefault((run.group, run.rollout), run)
    return list(first.values())


def repeats_note(runs: Sequence[RunScore]) -> str:
    """Which runs are left out of means and differences; empty where every run counts."""
    counted = {(run.group, run.rollout): run.folder for run in counted_runs(runs)}
    told = [
        f"{run.folder} (as {counted[run.group, run.rollout]})"
        for run in runs
        if run.folder != counted[run.group, run.rollout]
    ]
    if not told:
        return ""
    return f"the same rollout counts once in means and differences, without {', '.join(told)}"


def groups_of(runs: Sequence[RunScore], settings: Mapping[str, dict[str, Any]]) -> tuple[GroupScore, ...]:
    """Rollouts of the same settings together, each counted once.

    Args:
        runs: All runs.
        settings: Of every group, where groups differ.
    """
    found, counted = [], counted_runs(runs)
    for group in dict.fromkeys(run.group for run in runs):
        members = [run for run in counted if run.group == group]
        estimates = {}
        for name, path in FIGURES.items():
            values = [value for run in members if (value := value_of(run, path)) is not None]
            if values:
                estimates[name] = estimate(values)
        found.append(
            GroupScore(
                group=group, settings=settings.get(group, {}), rollouts=len(members), estimates=estimates
            )
        )
    return tuple(found)


def differences_of(runs: Sequence[RunScore]) -> tuple[Difference, ...]:
    """The first run's group less every other one, over rollouts of the same trajectory and seeds."""
    names, counted = list(dict.fromkeys(run.group for run in runs)), counted_runs(runs)
    by_group = {name: {run.rollout: run for run in counted if run.group == name} for name in names}
    found = []
    for baseline in names[1:]:
        ours, theirs = by_group[names[0]], by_group[baseline]
        both = [key for key in ours if key in theirs]
        if not both:
            continue
        estimates = {}
        for name, path in FIGURES.items():
            couples = [(value_of(ours[key], path), value_of(theirs[key], path)) for key in both]
            values = [a - b for a, b in couples if a is not None and b is not None]
            if values:
                estimates[name] = estimate(values)
        found.append(Difference(group=names[0], baseline=baseline, rollouts=len(both), estimates=estimates))
    return tuple(found)


def estimate(values: Sequence[float]) -> Estimate:
    """Mean over rollouts with its 95% interval, which a single one does not have."""
    low, high = mean_interval(values) or (None, None)
    return Estimate(mean=float(np.mean(values)), low=low, high=high, rollouts=len(values))


def few_rollouts_note(groups: Sequence[GroupScore]) -> str:
    """What the number of rollouts does not allow to say; empty where it is large enough."""
    fewest = min((group.rollouts for group in groups), default=0)
    if fewest == 1:
        return "one rollout tells no spread: generate several seeds (or worlds, paths) and name all runs"
    if fewest < FEW_ROLLOUTS:
        return f"intervals from {fewest} rollouts are too narrow: {FEW_ROLLOUTS} or more say more"
    return ""
