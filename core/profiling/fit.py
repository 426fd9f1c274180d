"""From measured chunks to rates: least squares with rates that cannot be negative."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float64

from core.calibration import Calibration
from core.memory.plan import MemoryPlan
from core.predicted_times import predict_chunk, read_bytes, stored_bytes

HELD_OUT_EVERY = 4
"""One chunk of so many is left out of the fit and foretold."""

LEAST_SAMPLES = 6
LEAST_KEY_RANGE = 1.3
"""Most keys over fewest, from which the rate of attention can be told from that of the rest."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One chunk of one plan, at its fastest in all its rollouts: what disturbs only adds time.

    Attributes:
        plan: Of the rollout.
        chunk: Which.
        retrieve_ms: Milliseconds from bank to window.
        denoise_ms: The sampler's passes.
        commit_ms: Clean pass and storing.
    """

    plan: MemoryPlan
    chunk: int
    retrieve_ms: float
    denoise_ms: float
    commit_ms: float

    @property
    def keys(self) -> int:
        """Tokens that the chunk attends to."""
        return self.plan.visible_tokens(self.plan.steps[self.chunk])

    @property
    def attention_flops(self) -> float:
        """Operations of self-attention in a pass."""
        shape = self.plan.footprint
        width = shape.num_layers * shape.num_heads * shape.head_dim
        return 4.0 * self.plan.layout.tokens_per_chunk * self.keys * width

    @cached_property
    def read_bytes(self) -> Mapping[str, int]:
        """Bytes read from every tier of the bank."""
        return read_bytes(self.plan, self.chunk)


def fit_calibration(
    samples: Sequence[Sample],
    *,
    passes: int,
    token_flops: float,
    overhead_ms: float,
    **known: Any,  # noqa: ANN401 - fields
) -> Calibration | None:
    """Rates that explain the samples best.

    Args:
        samples: Chunks after the warm-up.
        passes: Denoising passes of a chunk; the clean one comes on top.
        token_flops: Operations of a pass for a token, whatever it attends to.
        overhead_ms: Of every pass, in which no operation runs.
        **known: What else a calibration says.

    Returns:
        The calibration; None if there are too few samples.
    """
    kept = [sample for i, sample in enumerate(samples) if i % HELD_OUT_EVERY != 1]
    others = [sample for i, sample in enumerate(samples) if i % HELD_OUT_EVERY == 1]
    if len(kept) < LEAST_SAMPLES:
        return None
    tokens = kept[0].plan.layout.tokens_per_chunk
    keys = [sample.keys for sample in kept]
    rates = _pass_rates(kept, passes, tokens * token_flops, overhead_ms)
    fitted = Calibration(
        token_flops=token_flops,
        **rates,
        **_read_rates(kept),
        tokens_per_chunk=tokens,
        fewest_keys=min(keys),
        most_keys=max(keys),
        fitted_chunks=len(kept),
        held_out_chunks=len(others),
        median_error=0.0,
        largest_error=0.0,
        **known,
    )
    errors = [relative_error(fitted, sample, passes) for sample in others or kept]
    told = {"median_error": statistics.median(errors), "largest_error": max(errors)}
    return fitted.model_copy(update=told)


def relative_error(calibration: Calibration, sample: Sample, passes: int) -> float:
    """How far the predicted time of a chunk is from the measured one."""
    predicted = predict_chunk(calibration, sample.plan, sample.chunk, passes=passes)
    measured_s = (sample.retrieve_ms + sample.denoise_ms + sample.commit_ms) / 1e3
    return abs(predicted.total_s - measured_s) / measured_s


def _pass_rates(
    samples: Sequence[Sample], passes: int, flops: float, overhead_ms: float
) -> Mapping[str, Any]:
    """What a pass takes, from denoising (several passes) and committing (one) together."""
    keys = [sample.keys for sample in samples]
    told_apart = max(keys) >= LEAST_KEY_RANGE * min(keys)
    rows, times = [], []
    for sample in samples:
        attended = sample.attention_flops
        # Columns: ready once a chunk, a pass apart from attention, attention, storing.
        one = [1.0, attended] if told_apart else [1.0 + attended / flops, 0.0]
        rows.append([1.0, *(passes * value for value in one), 0.0])
        rows.append([0.0, *one, float(stored_bytes(sample.plan, sample.chunk))])
        times += [sample.denoise_ms / 1e3, sample.commit_ms / 1e3]
    ready, apart, attention, storing = least_squares(np.array(rows), np.array(times))
    apart = max(apart, 1e-9)
    overhead = min(overhead_ms / 1e3, 0.9 * apart)
    rate = flops / (apart - overhead)
    return {
        "pass_overhead_ms": overhead * 1e3,
        "token_flops_per_s": rate,
        "attention_flops_per_s": 1 / attention if attention > 0 else (1e18 if told_apart else flops / apart),
        "prepare_ms_per_token": ready * 1e3 / samples[0].plan.layout.tokens_per_chunk,
        "store_s_per_byte": storing,
    }


def _read_rates(samples: Sequence[Sample]) -> Mapping[str, Any]:
    """What retrieving takes: the same for every chunk, and for every byte by tier."""
    tiers = sorted({tier for sample in samples for tier in sample.read_bytes})
    rows = [[1.0, *(float(sample.read_bytes.get(tier, 0)) for tier in tiers)] for sample in samples]
    fixed, *rates = least_squares(
        np.array(rows), np.array([sample.retrieve_ms / 1e3 for sample in samples])
    ).tolist()
    return {"retrieve_fixed_ms": fixed * 1e3, "read_s_per_byte": dict(zip(tiers, rates, strict=True))}


def least_squares(
    rows: Float64[np.ndarray, "rows columns"], values: Float64[np.ndarray, " rows"]
) -> Float64[np.ndarray, " columns"]:
    """Weights of the columns, none negative, with the least sum of squared relative errors.

    There are so few columns that all choices of those that stay zero are tried.
    """
    scale = np.maximum(np.abs(values), 1e-9)
    wanted = values / scale
    size = np.maximum(np.abs(rows / scale[:, None]).max(axis=0), 1e-300)
    columns = rows / scale[:, None] / size
    best, least = np.zeros(rows.shape[1]), float(wanted @ wanted)
    for count in range(1, rows.shape[1] + 1):
        for used in combinations(range(rows.shape[1]), count):
            chosen = list(used)
            found = np.linalg.lstsq(columns[:, chosen], wanted, rcond=None)[0]
            missed = columns[:, chosen] @ found - wanted
            if (found >= 0).all() and float(missed @ missed) < least - 1e-12:
                best, least = np.zeros(rows.shape[1]), float(missed @ missed)
                best[chosen] = found / size[chosen]
    return best
