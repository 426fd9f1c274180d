"""From finished cells to rows with intervals and to paired differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import product

import numpy as np
from jaxtyping import Float64

from core.bench.cells import ENGINE_VERSION
from core.bench.judge import MEASURES
from core.bench.operations import chunk_operations
from core.bench.run import THREADS, weights_hash
from core.bench.setting import Setting
from core.bench.suite import Family, Suite, Task
from core.fidelity.intervals import bootstrap_ci
from core.models.mini.config import CHUNK_FRAMES
from core.models.mini.outline import DENOISING_LEVELS
from core.schemas.bench import BenchReport, Comparison, FamilyRecord, Interval, PlayedOn, Row, SettingCosts
from core.schemas.bench_cell import Cell, Score

RESAMPLES = 2000

TOLD = {
    True: ("truth_psnr_db", "truth_ssim", "late_truth_psnr_db", "sharpness"),
    False: (
        "self_psnr_db",
        "self_ssim",
        "control_psnr_db",
        "gain_psnr_db",
        "late_psnr_db",
        "early_psnr_db",
        "sharpness",
    ),
}
"""Measures of the report, where the first leg was given and where it was not."""

Done = Mapping[Task, Cell]


def summarise(suite: Suite, done: Done, *, command: str) -> BenchReport:
    """The report of what is finished; settings of which a script is missing are left out.

    Args:
        suite: What was to be played.
        done: Its finished cells.
        command: What makes the report again.
    """
    total = len(suite.tasks())
    groups = {(s, family.scripts): None for family in suite.families for s in family.settings}
    rows = [row for setting, scripts in groups for row in _row(suite, done, setting, scripts)]
    return BenchReport(
        status="done" if len(done) == total else "interrupted",
        suite=suite.name,
        command=command,
        made_at=datetime.now(UTC),
        first_world=suite.first_world,
        num_worlds=suite.num_worlds,
        cells_done=len(done),
        cells_total=total,
        weights_sha256=weights_hash(),
        engine=ENGINE_VERSION,
        threads=THREADS,
        machines=_machines(done),
        measures=dict(MEASURES),
        families=[_family(family) for family in suite.families],
        rows=rows,
        comparisons=[c for family in suite.families for c in _comparisons(suite, done, family)],
    )


def _machines(done: Done) -> list[PlayedOn]:
    """Where the cells were played, the most of them first."""
    found: dict[str, PlayedOn] = {}
    for cell in done.values():
        name = "" if cell.machine is None else cell.machine.model_dump_json()
        before = found[name].cells if name in found else 0
        found[name] = PlayedOn(machine=cell.machine, cells=before + 1)
    return sorted(found.values(), key=lambda each: -each.cells)


def _family(family: Family) -> FamilyRecord:
    return FamilyRecord(
        name=family.name,
        title=family.title,
        labels=[setting.label for setting in family.settings],
        scripts=list(family.scripts),
        protocols=list(family.protocols),
        curve=family.curve,
        by=family.by,
    )


def _row(suite: Suite, done: Done, setting: Setting, scripts: Sequence[str]) -> Iterator[Row]:
    """The row of a setting, if a protocol of it is finished."""
    found = {given: _scores(suite, done, setting, scripts, given=given) for given in (True, False)}
    tasks = [suite.task(setting, script, given=bool(found[True])) for script in scripts]
    if not found[True] and not found[False]:
        return
    by_script: dict[str, dict[str, float]] = {name: {} for name in scripts}
    for given, scores in found.items():
        for score in scores:
            for name in TOLD[given]:
                if name in score.measures:
                    mean = round(float(np.mean(score.measures[name])), 4)
                    by_script[score.script][f"{'given' if given else 'free'}.{name}"] = mean
    yield Row(
        label=setting.label,
        setting=dict(setting.key),
        scripts=list(scripts),
        costs=_costs(found[True] or found[False], tasks),
        given=_intervals(found[True], given=True),
        free=_intervals(found[False], given=False),
        by_script=by_script,
    )


def _scores(
    suite: Suite, done: Done, setting: Setting, scripts: Sequence[str], *, given: bool
) -> list[Score]:
    """The scores on all scripts; none unless all are there."""
    tasks = [suite.task(setting, script, given=given) for script in scripts]
    return [done[task].score for task in tasks] if all(task in done for task in tasks) else []


def _costs(scores: Sequence[Score], tasks: Sequence[Task]) -> SettingCosts:
    costs = [score.costs for score in scores]
    operations = [
        chunk_operations(t.setting, t.script, given_chunks=t.script.given_chunks if t.given else 0)
        for t in tasks
    ]
    times = [each.cpu_ms * _per_generated_chunk(task) for each, task in zip(costs, tasks, strict=True)]
    return SettingCosts(
        retrieve_tokens=costs[0].retrieve_tokens,
        retrieved_tokens=round(float(np.mean([c.retrieved_tokens for c in costs])), 2),
        window_tokens=max(c.window_tokens for c in costs),
        window_bytes=float(np.mean([c.window_bytes for c in costs])),
        bank_bytes=float(np.mean([c.bank_bytes for c in costs])),
        stored_share=round(float(np.mean([c.stored_share for c in costs])), 4),
        operations=float(np.mean(operations)),
        cpu_ms=round(float(np.mean(times)), 3),
    )


def _per_generated_chunk(task: Task) -> float:
    """From the time of a chunk to that of a generated one: given ones take the clean pass alone."""
    chunks, given = task.frames // CHUNK_FRAMES, task.script.given_chunks if task.given else 0
    passes = len(DENOISING_LEVELS) + (task.setting.commit == "clean")
    return chunks / (chunks - given + given / passes)


def _intervals(scores: Sequence[Score], *, given: bool) -> dict[str, Interval]:
    values = {name: _by_world(scores, name) for name in TOLD[given]}
    return {name: interval(each) for name, each in values.items() if each is not None}


def _by_world(scores: Sequence[Score], measure: str) -> Float64[np.ndarray, " worlds"] | None:
    """One value a world: the mean over scripts; None unless all scripts have it."""
    if not scores or any(measure not in score.measures for score in scores):
        return None
    mean: Float64[np.ndarray, " worlds"] = np.mean([score.measures[measure] for score in scores], axis=0)
    return mean


def interval(values: Float64[np.ndarray, " worlds"]) -> Interval:
    """Mean and interval."""
    low, high = bootstrap_ci(values, num_resamples=RESAMPLES)
    return Interval(mean=round(float(values.mean()), 4), low=round(low, 4), high=round(high, 4))


def _comparisons(suite: Suite, done: Done, family: Family) -> Iterator[Comparison]:
    for pair, protocol in product(family.pairs, family.protocols):
        given = protocol == "given"
        ours, *theirs = (
            _scores(suite, done, setting, family.scripts, given=given) for setting in (pair.a, *pair.b)
        )
        differences = {
            name: told for name in TOLD[given] if (told := _difference(ours, theirs, name)) is not None
        }
        if differences:
            labels = ", ".join(setting.label for setting in pair.b)
            yield Comparison(
                family=family.name,
                words=pair.words,
                a=pair.a.label,
                b=labels if len(pair.b) == 1 else f"mean of {labels}",
                scripts=list(family.scripts),
                given=given,
                differences=differences,
            )


def _difference(a: Sequence[Score], several: Sequence[Sequence[Score]], measure: str) -> Interval | None:
    """One setting over the mean of others in the same world; None unless all have the measure."""
    ours, theirs = _by_world(a, measure), [_by_world(each, measure) for each in several]
    found = [each for each in theirs if each is not None]
    return None if ours is None or len(found) < len(theirs) else interval(ours - np.mean(found, axis=0))
