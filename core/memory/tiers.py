"""Where stored tokens may lie, and how many of them fit there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Tier = Literal["device", "host", "disk"]

TIERS: Final[tuple[Tier, ...]] = ("device", "host", "disk")
"""From the fastest to the slowest."""

ID_BYTES: Final = 8
"""Of where a stored token came from, kept with it where only keys can tell."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """Tokens that each tier may hold at a time; None for no limit."""

    device: int | None = None
    host: int | None = 0
    disk: int | None = 0

    @classmethod
    def only(cls, tier: Tier) -> Room:
        """Everything in one tier."""
        return cls(**{each: None if each == tier else 0 for each in TIERS})

    @property
    def by_tier(self) -> tuple[int | None, ...]:
        """In the order of `TIERS`."""
        return self.device, self.host, self.disk
