"""Which frames are compared: by camera alone, the same for every run of a trajectory."""

from __future__ import annotations

import math
from dataclasses import dataclass

from core.errors import InputError
from core.fidelity.pairs import CONTROL_DISTANCE, MAX_DISTANCE, MAX_PAIRS, MIN_GAP_FRAMES


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What counts as a revisit.

    The defaults are those of an independent re-run of WorldKV.

    Attributes:
        max_distance: Largest |translation| + angle / pi, in the trajectory's units as they are, and half
            turns. Above 0, and below that of controls.
        min_gap_frames: Least video frames between the two. At least 1.
        max_pairs: Most pairs of a rollout, evenly thinned. At least 1.
        seed: Chooses the control pairs.
    """

    max_distance: float = MAX_DISTANCE
    min_gap_frames: int = MIN_GAP_FRAMES
    max_pairs: int = MAX_PAIRS
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.max_distance) and self.max_distance > 0):
            raise InputError(
                f"the distance of a revisit must be above 0, got {self.max_distance:g}",
                where="--max-distance",
                hint=f"{MAX_DISTANCE:g} is 27 degrees, or {MAX_DISTANCE:g} units",
            )
        if self.max_distance >= CONTROL_DISTANCE:
            raise InputError(
                f"the distance of a revisit must be below {CONTROL_DISTANCE:g}, got {self.max_distance:g}: "
                "controls may lie that near, and would be nearer than what they are compared with",
                where="--max-distance",
                hint=f"{MAX_DISTANCE:g} is 27 degrees, or {MAX_DISTANCE:g} units",
            )
        for flag, count in (("--min-gap", self.min_gap_frames), ("--max-pairs", self.max_pairs)):
            if count < 1:
                raise InputError(f"{flag.removeprefix('--')} must be at least 1, got {count}", where=flag)

    @property
    def is_default(self) -> bool:
        """Whether run.json's own figures are of the same pairs."""
        return self == Protocol()
