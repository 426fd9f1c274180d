"""The bank over the rollout: what every tier holds, and what moves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Int64

from core.memory.plan import MemoryPlan
from core.memory.tiers import TIERS, Tier
from core.schemas.forecast import BankForecast, BankMoment
from core.schemas.run import TierBytes

MOST_MOMENTS = 240
"""Of the bank over time: neighbouring chunks share one beyond that."""


def bank_forecast(plan: MemoryPlan) -> BankForecast:
    """The bank of a plan."""
    residency = plan.residency
    most_read = {tier: int(residency.read_tokens(tier).max(initial=0)) for tier in TIERS}
    token_bytes = plan.bank_token_bytes
    layout = plan.layout
    return BankForecast(
        precision=plan.precision,
        token_bytes=token_bytes,
        total_bytes=plan.bank_bytes,
        tiers=_by_tier(plan.tier_bytes),
        stored_share=plan.stored_token_ratio,
        everything_bytes=layout.num_frames * layout.tokens_per_frame * plan.footprint.kv_bytes_per_token,
        read=_by_tier(plan.read_bytes),
        written=_by_tier(plan.written_bytes),
        most_read_per_chunk=_by_tier({tier: count * token_bytes for tier, count in most_read.items()}),
        moments=tuple(_moments(residency.live_tokens * token_bytes)),
    )


def _moments(live_bytes: Int64[np.ndarray, "chunks 3"]) -> Iterator[BankMoment]:
    """At most `MOST_MOMENTS` of them; what is left out is never more than what is shown."""
    num_chunks = len(live_bytes)
    step = -(-num_chunks // MOST_MOMENTS)
    for start in range(0, num_chunks, step):
        span = live_bytes[start : start + step]
        device, host, disk = span.max(axis=0).tolist()
        yield BankMoment(chunk=start + len(span) - 1, device=device, host=host, disk=disk)


def _by_tier(size_bytes: Mapping[Tier, int]) -> TierBytes:
    return TierBytes(device=size_bytes["device"], host=size_bytes["host"], disk=size_bytes["disk"])
