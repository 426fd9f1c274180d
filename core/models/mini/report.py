"""The tables of the model card, from scores. Intervals: 95%, bootstrap over worlds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from core.fidelity.intervals import bootstrap_ci
from core.schemas.bench_cell import Score

RESAMPLES = 2000
PAPER_TOKENS = "3 chunks, keep 0.25, key"
RAYS_TOKENS = "rays, older first"


def quality_table(free: Sequence[Score], given: Sequence[Score]) -> str:
    """Modes against scripts: self-consistency, control, and truth where the view had been given."""
    lines = [
        "| script | mode | revisit PSNR | revisit SSIM | control PSNR | given view vs truth | sharpness |",
        "|---|---|---|---|---|---|---|",
    ]
    for a, b in zip(free, given, strict=True):
        cells = (
            _cell(_of(a, "self_psnr_db")), _cell(_of(a, "self_ssim"), 3),
            _cell(_of(a, "control_psnr_db")), _cell(_of(b, "truth_psnr_db")),
            _cell(_of(a, "sharpness"), 2),
        )  # fmt: skip
        lines.append(f"| {a.script} | {a.setting} | {' | '.join(cells)} |")
    return "\n".join(lines)


def returns_table(scores: Sequence[Score]) -> str:
    """Scripts that come back many times: all revisits, and those of the last quarter."""
    lines = [
        "| script | mode | worlds | all revisits | last quarter | revisit SSIM | control PSNR | sharpness |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for s in scores:
        cells = (
            _cell(_of(s, "self_psnr_db")), _cell(_of(s, "late_psnr_db")), _cell(_of(s, "self_ssim"), 3),
            _cell(_of(s, "control_psnr_db")),
            _cell(_of(s, "sharpness"), 2),
        )  # fmt: skip
        lines.append(f"| {s.script} | {s.setting} | {len(_of(s, 'self_psnr_db'))} | {' | '.join(cells)} |")
    return "\n".join(lines)


def token_table(scores: Sequence[Score]) -> str:
    """Settings against scripts, revisit PSNR."""
    names = list(dict.fromkeys(s.script for s in scores))
    lines = [
        "| retrieval | tokens | stored | " + " | ".join(names) + " | mean |",
        "|---|---|---|" + "---|" * (len(names) + 1),
    ]
    for setting, tokens in dict.fromkeys((s.setting, s.costs.retrieve_tokens) for s in scores):
        row = {s.script: s for s in scores if (s.setting, s.costs.retrieve_tokens) == (setting, tokens)}
        share = f"{np.mean([s.costs.stored_share for s in row.values()]):.0%}" if tokens else "-"
        cells = " | ".join(_cell(_of(row[name], "self_psnr_db")) for name in names)
        mean = _cell(list(_by_world(scores, setting, tokens)))
        lines.append(f"| {setting} | {tokens or '-'} | {share} | {cells} | {mean} |")
    return "\n".join(lines)


def claims_table(grain: Sequence[Score], returns: Sequence[Score], given: Sequence[Score]) -> str:
    """What is claimed of `rays`, as differences on the same worlds and noise."""
    full, sliding = _by_world(grain, "full", 0), _by_world(grain, "sliding", 0)
    chunk = min(s.costs.retrieve_tokens for s in grain if s.setting == "3 whole chunks, pose") // 3
    thin = _by_world(grain, RAYS_TOKENS, chunk)
    paper_tokens = next(s.costs.retrieve_tokens for s in grain if s.setting == PAPER_TOKENS)
    gain = _by_world(grain, RAYS_TOKENS, paper_tokens) - _by_world(grain, PAPER_TOKENS, paper_tokens)
    lines = ["| claim | measured | 95% interval |", "|---|---|---|"]
    low, high = _ratio_interval(thin - sliding, full - sliding)
    share = (thin - sliding).mean() / (full - sliding).mean()
    lines.append(
        f"| share of the gap between sliding and full that rays with {chunk} tokens recovers "
        f"| {share:.0%} | {low:.0%} to {high:.0%} |"
    )
    lines.append(_difference(f"rays over the paper's setting, {paper_tokens} tokens each, dB", gain))
    for script in dict.fromkeys(s.script for s in returns):
        rows = {s.setting: np.array(_of(s, "late_psnr_db")) for s in returns if s.script == script}
        rays = next(values for name, values in rows.items() if name.startswith("worldkv, rays"))
        lines.append(_difference(f"rays over full, last quarter of {script}, dB", rays - rows["full"]))
    for script in dict.fromkeys(s.script for s in given):
        truth = {s.setting: np.array(_of(s, "truth_psnr_db")) for s in given if s.script == script}
        for name in truth:
            if name.startswith("worldkv"):
                low, high = _ratio_interval(truth[name] - truth["sliding"], truth["full"] - truth["sliding"])
                share = (truth[name] - truth["sliding"]).mean() / (truth["full"] - truth["sliding"]).mean()
                claim = f"share of that gap against the truth, {script}, {name}"
                lines.append(f"| {claim} | {share:.0%} | {low:.0%} to {high:.0%} |")
    return "\n".join(lines)


def _of(score: Score, measure: str) -> Sequence[float]:
    """One value a world; none where it could not be measured."""
    return score.measures.get(measure, [])


def _difference(claim: str, values: Float64[np.ndarray, " worlds"]) -> str:
    low, high = bootstrap_ci(values, num_resamples=RESAMPLES)
    return f"| {claim} | {values.mean():+.2f} | {low:+.2f} to {high:+.2f} |"


def _by_world(scores: Sequence[Score], setting: str, tokens: int) -> Float64[np.ndarray, " worlds"]:
    """Revisit PSNR of a setting, one value a world: the mean over scripts."""
    found = [
        _of(s, "self_psnr_db") for s in scores if (s.setting, s.costs.retrieve_tokens) == (setting, tokens)
    ]
    mean: Float64[np.ndarray, " worlds"] = np.mean(found, axis=0)
    return mean


def _ratio_interval(
    part: Float64[np.ndarray, " worlds"], whole: Float64[np.ndarray, " worlds"]
) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    picks = rng.integers(len(part), size=(RESAMPLES, len(part)))
    ratios = part[picks].mean(1) / whole[picks].mean(1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(low), float(high)


def _cell(values: Sequence[float], digits: int = 1) -> str:
    """Mean and half-width of the interval; a dash where nothing could be measured."""
    known = [v for v in values if not math.isnan(v)]
    if not known:
        return "-"
    low, high = bootstrap_ci(known, num_resamples=RESAMPLES)
    return f"{np.mean(known):.{digits}f} ±{(high - low) / 2:.{digits}f}"
