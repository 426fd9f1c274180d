"""An evaluation's report for people: gains over the controls first, then what they are made of."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from core.evaluation.groups import value_of
from worldkv_cli.tables import Table, print_table

if TYPE_CHECKING:
    from core.schemas.eval import Estimate, EvalReport, RunScore

_FIGURES: Final[Mapping[str, tuple[str, int]]] = MappingProxyType(
    {
        "gain_psnr_db": ("gain, dB", 1),
        "gain_ssim": ("gain, SSIM", 3),
        "revisit_psnr_db": ("revisit, dB", 1),
        "truth_given_psnr_db": ("given views, dB", 1),
        "start_sharpness": ("sharpness", 2),
        "retrieval_recall": ("recall", 2),
    }
)
"""Figures of rollouts together: heading and decimals."""


def print_report(report: EvalReport, files: Sequence[Path]) -> None:
    """Print the report on stdout: tables of lines on a terminal, plain columns in a pipe."""
    rule = report.protocol
    _write(
        f"revisits: |translation| + angle/pi <= {rule.max_distance:g}, {rule.min_gap_frames} frames or more "
        f"apart, earliest visit, at most {rule.max_pairs} a rollout\n"
        f"controls: views {rule.control_distance:g} or more apart, at about the same gap and time; "
        "motion in grey levels a frame (0: frozen);\n"
        "sharpness of the returning frames over the first frame's (below 1: blurred)\n"
    )
    for table in tables(report):
        if table.rows:
            _write("\n")
            print_table(table)
    _write("\n")
    for line in _remarks(report):
        _write(f"{line}\n")
    for path in files:
        _write(f"{path}\n")


def tables(report: EvalReport) -> Iterator[Table]:
    """All tables of a report; one without rows is left out by who prints them."""
    yield _gain_table(report)
    yield _match_table(report)
    yield _truth_table(report)
    yield _retrieval_table(report)
    if any(group.rollouts > 1 for group in report.groups):
        rows = [(group.group, group.rollouts, group.estimates) for group in report.groups]
        yield _estimate_table("mean over rollouts (95% interval)", rows)
    rows = [(f"{each.group} - {each.baseline}", each.rollouts, each.estimates) for each in report.differences]
    yield _estimate_table("differences, same trajectory and seeds: mean (95% interval)", rows)


def _gain_table(report: EvalReport) -> Table:
    columns: dict[str, Callable[[RunScore], str]] = {
        "PSNR, dB": lambda run: _signed(value_of(run, "gain.psnr_db"), 1),
        "shifted, dB": lambda run: _signed(value_of(run, "gain.shifted_psnr_db"), 1),
        "SSIM": lambda run: _signed(value_of(run, "gain.ssim"), 3),
        "latent": lambda run: _signed(value_of(run, "gain.latent_distance"), 2),
        "LPIPS": lambda run: _signed(value_of(run, "gain.lpips"), 3),
        "motion": lambda run: f"{run.motion:.1f}",
        "sharpness": lambda run: _number(run.start_sharpness, 2),
    }
    return _run_table(report, "gain of revisits over controls (0: remembers nothing)", columns)


def _match_table(report: EvalReport) -> Table:
    columns: dict[str, Callable[[RunScore], str]] = {
        "pairs": lambda run: str(run.revisit.pairs if run.revisit else 0),
        "PSNR, dB": lambda run: _against(run, "psnr_db", 1),
        "shifted, dB": lambda run: _against(run, "shifted_psnr_db", 1),
        "SSIM": lambda run: _against(run, "ssim", 3),
        "latent": lambda run: _against(run, "latent_distance", 2),
        "LPIPS": lambda run: _against(run, "lpips", 3),
        "sharpness": lambda run: _number(value_of(run, "revisit.sharpness"), 2),
    }
    return _run_table(report, "what it is made of: revisit against first visit / control", columns)


def _truth_table(report: EvalReport) -> Table:
    columns: dict[str, Callable[[RunScore], str]] = {
        "given views, dB": lambda run: _number(value_of(run, "truth.given_psnr_db"), 1),
        "of them": lambda run: str(run.truth.given_views) if run.truth and run.truth.given_views else "-",
        "revisits, dB": lambda run: _number(value_of(run, "truth.revisit_psnr_db"), 1),
        "first frames, dB": lambda run: _number(value_of(run, "truth.early_psnr_db"), 1),
        "sharpness": lambda run: _number(value_of(run, "truth.sharpness"), 2),
    }
    return _run_table(report, "against the true world", columns, lambda run: run.truth is not None)


def _retrieval_table(report: EvalReport) -> Table:
    columns: dict[str, Callable[[RunScore], str]] = {
        "judged by": lambda run: _basis(run),
        "recall": lambda run: _share(value_of(run, "retrieval.recall")),
        "precision": lambda run: _share(value_of(run, "retrieval.precision")),
        "hits": lambda run: str(run.retrieval.hits if run.retrieval else "-"),
        "misses": lambda run: str(run.retrieval.misses if run.retrieval else "-"),
        "idle": lambda run: str(run.retrieval.idle if run.retrieval else "-"),
        "view covered": lambda run: _share(value_of(run, "retrieval.token_recall")),
        "tokens in view": lambda run: _share(value_of(run, "retrieval.token_precision")),
    }
    return _run_table(
        report,
        "past chunks that see the coming view, and what was retrieved",
        columns,
        lambda run: run.retrieval is not None,
    )


def _run_table(
    report: EvalReport,
    title: str,
    columns: Mapping[str, Callable[[RunScore], str]],
    shown: Callable[[RunScore], bool] = lambda _: True,
) -> Table:
    """A row for every run; columns that are empty in all are left out."""
    runs = [run for run in report.runs if shown(run)]
    filled = {head: [cell(run) for run in runs] for head, cell in columns.items()}
    filled = {head: cells for head, cells in filled.items() if any(text != "-" for text in cells)}
    groups = {run.group for run in report.runs}
    named = [(run.folder, run.group) if len(groups) > 1 else (run.folder,) for run in runs]
    head = ("run", "memory") if len(groups) > 1 else ("run",)
    rows = tuple((*name, *(cells[i] for cells in filled.values())) for i, name in enumerate(named))
    words = (0, 1) if len(groups) > 1 else (0,)
    return Table(title, (*head, *filled), rows, words)


def _estimate_table(title: str, rows: Sequence[tuple[str, int, Mapping[str, Estimate]]]) -> Table:
    names = [name for name in _FIGURES if any(name in estimates for _, _, estimates in rows)]
    return Table(
        title,
        ("", "rollouts", *(_FIGURES[name][0] for name in names)),
        tuple(
            (label, str(count), *(_estimate(estimates.get(name), _FIGURES[name][1]) for name in names))
            for label, count, estimates in rows
        ),
    )


def _remarks(report: EvalReport) -> Iterator[str]:
    for run in report.runs:
        if run.raw is not None:
            yield (
                f"{run.folder}: {run.raw.psnr_db:.2f} dB on raw frames (run.json), "
                f"{run.raw.compression_db:+.2f} by the MP4's compression"
            )
    reasons = {run.no_truth for run in report.runs if run.no_truth}
    for reason in sorted(reasons):
        yield f"no true world: {reason}"
    for metric, why in report.missing.items():
        yield f"no {metric.replace('_', ' ')}: {why}"
    for note in report.notes:
        yield f"note: {note}"


def _basis(run: RunScore) -> str:
    if run.retrieval is None:
        return "-"
    return "true depth" if run.retrieval.basis == "depth" else "sampled points"


def _against(run: RunScore, name: str, digits: int) -> str:
    here, elsewhere = getattr(run.revisit, name, None), getattr(run.control, name, None)
    return "-" if here is None else f"{_number(here, digits)} / {_number(elsewhere, digits)}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"


def _signed(value: float | None, digits: int) -> str:
    if value is None:
        return "-"
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _estimate(value: Estimate | None, digits: int) -> str:
    if value is None:
        return "-"
    text = _number(value.mean, digits)
    if value.low is None or value.high is None:
        return text
    return f"{text} ({_number(value.low, digits)} to {_number(value.high, digits)})"


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
