"""What a trajectory does, in numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from trajectories.actions import dead_reckoned_c2w
from trajectories.geometry import RevisitSegment, revisit_segments, revisits, step_lengths, step_turns_deg
from trajectories.trajectory import Trajectory

MAX_SEARCHED_FRAMES = 20_000  # the search compares all pairs: about ten seconds at this length


@dataclass(frozen=True)
class Summary:
    """Figures of a trajectory; lengths in world units, angles in degrees.

    Args:
        name: Name of the trajectory.
        description: Its description.
        source: Where it was loaded from.
        source_sha256: Hash of its text.
        fps: Video frames per second.
        num_frames: Video frames.
        duration_s: Seconds.
        path_length_units: Distance travelled.
        total_turn_deg: All turning added up, whichever way.
        move_units_per_frame: Smallest and largest speed of the frames that move.
        turn_deg_per_frame: Smallest and largest turn of the frames that turn.
        extent_units: Size of the box around the path: right, up, forward.
        action_drift_units: Largest distance between the camera and where its keys and mouse would lead.
        marks: Name to frame.
        num_revisits: Frames that see an earlier view again; None if the trajectory is too long to search.
        revisits: The same frames as stretches.
    """

    name: str
    description: str
    source: str
    source_sha256: str
    fps: float
    num_frames: int
    duration_s: float
    path_length_units: float
    total_turn_deg: float
    move_units_per_frame: tuple[float, float]
    turn_deg_per_frame: tuple[float, float]
    extent_units: tuple[float, float, float]
    action_drift_units: float
    marks: dict[str, int]
    num_revisits: int | None
    revisits: tuple[RevisitSegment, ...]

    def as_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        return asdict(self)


def summarise(trajectory: Trajectory) -> Summary:
    """Measure a trajectory and find its revisits."""
    c2w = trajectory.c2w
    lengths, turns = step_lengths(c2w), step_turns_deg(c2w)
    searched = trajectory.num_frames <= MAX_SEARCHED_FRAMES
    found = revisits(c2w) if searched else []
    reckoned = dead_reckoned_c2w(c2w[0], trajectory.keyboard, trajectory.mouse, trajectory.gains)
    extent = np.ptp(c2w[:, :3, 3], axis=0)
    return Summary(
        name=trajectory.name,
        description=trajectory.description,
        source=trajectory.source,
        source_sha256=trajectory.source_sha256,
        fps=trajectory.fps,
        num_frames=trajectory.num_frames,
        duration_s=trajectory.duration_s,
        path_length_units=_rounded(lengths.sum()),
        total_turn_deg=_rounded(turns.sum()),
        move_units_per_frame=_range_of(lengths.tolist()),
        turn_deg_per_frame=_range_of(turns.tolist()),
        extent_units=(_rounded(extent[0]), _rounded(extent[1]), _rounded(extent[2])),
        action_drift_units=_rounded(np.linalg.norm(reckoned[:, :3, 3] - c2w[:, :3, 3], axis=-1).max()),
        marks=dict(trajectory.marks),
        num_revisits=len(found) if searched else None,
        revisits=tuple(revisit_segments(found)),
    )


def _rounded(value: float) -> float:
    return round(float(value), 6) + 0.0  # no -0.0


def _range_of(values: list[float]) -> tuple[float, float]:
    """Smallest and largest of the values that are not zero."""
    moving = [value for value in values if value > 1e-6] or [0.0]
    return _rounded(min(moving)), _rounded(max(moving))
