"""Rotations, poses and revisits: numpy only, vectorised over frames.

Angles are (yaw, pitch, roll) in degrees with R = Ry(yaw) Rx(pitch) Rz(roll): yaw turns right about the
world's vertical, pitch looks up, roll tilts clockwise. Positions are in world units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

ORTHONORMAL_TOLERANCE = 1e-3  # hand-written matrices carry three or four digits
VISIT_SLACK = 0.02  # an earlier visit that comes this much less near still counts as the first
_BLOCK_PAIRS = 1 << 20  # pairs of frames compared at once: bounds the memory of `revisits`


def rotations_from_angles(angles_deg: Float64[np.ndarray, "*frames 3"]) -> Float64[np.ndarray, "*frames 3 3"]:
    """Rotation matrices (camera-to-world) from (yaw, pitch, roll) in degrees."""
    yaw, pitch, roll = np.moveaxis(np.deg2rad(np.remainder(angles_deg, 360.0)), -1, 0)
    cy, sy, cp, sp, cr, sr = (
        np.cos(yaw),
        np.sin(yaw),
        np.cos(pitch),
        np.sin(pitch),
        np.cos(roll),
        np.sin(roll),
    )
    rows = [
        [cy * cr + sy * sp * sr, -cy * sr + sy * sp * cr, sy * cp],
        [cp * sr, cp * cr, -sp],
        [-sy * cr + cy * sp * sr, sy * sr + cy * sp * cr, cy * cp],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def angles_from_rotations(
    rotations: Float64[np.ndarray, "*frames 3 3"],
) -> Float64[np.ndarray, "*frames 3"]:
    """(yaw, pitch, roll) in degrees, yaw and roll in (-180, 180], pitch in [-90, 90].

    Looking straight up or down leaves only yaw minus roll defined; roll is then 0.
    """
    r = rotations
    level = np.hypot(r[..., 1, 0], r[..., 1, 1])
    vertical = level < 1e-9
    yaw = np.where(vertical, np.arctan2(-r[..., 2, 0], r[..., 0, 0]), np.arctan2(r[..., 0, 2], r[..., 2, 2]))
    pitch = np.arctan2(-r[..., 1, 2], level)
    roll = np.where(vertical, 0.0, np.arctan2(r[..., 1, 0], r[..., 1, 1]))
    angles: Float64[np.ndarray, "*frames 3"] = np.rad2deg(np.stack([yaw, pitch, roll], axis=-1))
    return angles


def c2w_from_angles(
    position: Float64[np.ndarray, "*frames 3"], angles_deg: Float64[np.ndarray, "*frames 3"]
) -> Float64[np.ndarray, "*frames 4 4"]:
    """Camera-to-world matrices from positions and (yaw, pitch, roll) in degrees."""
    c2w = np.zeros((*position.shape[:-1], 4, 4))
    c2w[..., :3, :3] = rotations_from_angles(angles_deg)
    c2w[..., :3, 3] = position
    c2w[..., 3, 3] = 1.0
    return c2w


def forward(yaw_deg: Float64[np.ndarray, " frames"]) -> Float64[np.ndarray, "frames 3"]:
    """Horizontal unit vector straight ahead: (sin yaw, 0, cos yaw)."""
    yaw = np.deg2rad(np.remainder(yaw_deg, 360.0))
    return np.stack([np.sin(yaw), np.zeros_like(yaw), np.cos(yaw)], axis=-1)


def right(yaw_deg: Float64[np.ndarray, " frames"]) -> Float64[np.ndarray, "frames 3"]:
    """Horizontal unit vector to the right: (cos yaw, 0, -sin yaw)."""
    yaw = np.deg2rad(np.remainder(yaw_deg, 360.0))
    return np.stack([np.cos(yaw), np.zeros_like(yaw), -np.sin(yaw)], axis=-1)


def wrap_deg(angle_deg: Float64[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """The same angle in (-180, 180]: half a turn goes to the right."""
    return 180.0 - np.remainder(180.0 - angle_deg, 360.0)


def rotation_defect(rotation: Float64[np.ndarray, "3 3"]) -> float:
    """How far a matrix is from a rotation: largest entry of |R^T R - I|, or 2 if it mirrors."""
    defect = float(np.abs(rotation.T @ rotation - np.eye(3)).max())
    return defect if np.linalg.det(rotation) > 0 else max(defect, 2.0)


def nearest_rotation(matrix: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "3 3"]:
    """The rotation nearest to an almost orthonormal matrix (polar decomposition)."""
    u, _, vt = np.linalg.svd(matrix)
    rotation: Float64[np.ndarray, "3 3"] = u @ vt
    return rotation


def angle_between_deg(
    a: Float64[np.ndarray, "frames 3 3"], b: Float64[np.ndarray, "frames 3 3"]
) -> Float64[np.ndarray, " frames"]:
    """Geodesic angle between rotations, in degrees, [0, 180]; exact for small angles too."""
    chord = np.sqrt(np.sum((a - b) ** 2, axis=(-2, -1)) / 8.0)  # sin(angle / 2)
    angle: Float64[np.ndarray, " frames"] = np.rad2deg(2.0 * np.arcsin(np.minimum(chord, 1.0)))
    return angle


def step_lengths(c2w: Float64[np.ndarray, "frames 4 4"]) -> Float64[np.ndarray, " steps"]:
    """Distance travelled from each frame to the next, world units."""
    length: Float64[np.ndarray, " steps"] = np.linalg.norm(np.diff(c2w[:, :3, 3], axis=0), axis=-1)
    return length


def step_turns_deg(c2w: Float64[np.ndarray, "frames 4 4"]) -> Float64[np.ndarray, " steps"]:
    """Angle turned from each frame to the next, degrees."""
    return angle_between_deg(c2w[:-1, :3, :3], c2w[1:, :3, :3])


@dataclass(frozen=True)
class Revisit:
    """A frame whose viewpoint was seen before, and the frame that saw it first."""

    frame: int
    first_frame: int
    distance: float

    @property
    def gap_frames(self) -> int:
        """Video frames between the two."""
        return self.frame - self.first_frame


@dataclass(frozen=True)
class RevisitSegment:
    """Consecutive revisits: frames `start`..`stop` (inclusive) saw the views of `first_start`..`first_stop`.

    `first_stop` lies before `first_start` when the earlier views come back in reverse order.
    """

    start: int
    stop: int
    first_start: int
    first_stop: int
    min_gap_frames: int
    max_gap_frames: int


def revisits(
    c2w: Float64[np.ndarray, "frames 4 4"], *, max_distance: float = 0.15, min_gap_frames: int = 30
) -> list[Revisit]:
    """Find the frames that return to an earlier viewpoint.

    The distance of two viewpoints is |dt| + angle / pi (world units plus half turns). A frame is a revisit if
    an earlier frame, at least `min_gap_frames` before, lies within `max_distance` and the camera has been
    farther away in between (standing still is no revisit). Of the visits that come nearest, within
    `VISIT_SLACK`, the earliest counts, and of that visit the nearest frame. Takes time quadratic in frames,
    but bounded memory.

    Args:
        c2w: Camera-to-world matrices.
        max_distance: Largest distance that still counts as the same viewpoint. 0.15 is 27 degrees.
        min_gap_frames: Smallest gap between the visits, video frames.
    """
    num_frames = c2w.shape[0]
    block = max(1, _BLOCK_PAIRS // max(1, num_frames))
    found: list[Revisit] = []
    for start in range(min_gap_frames, num_frames, block):
        rows = np.arange(start, min(start + block, num_frames))
        found += _revisits_of(rows, _distances(c2w, rows), max_distance, min_gap_frames)
    return found


def _distances(
    c2w: Float64[np.ndarray, "frames 4 4"], rows: Int64[np.ndarray, " rows"]
) -> Float64[np.ndarray, "rows earlier"]:
    """Distances from each of `rows` to every frame up to the last of them."""
    stop = int(rows[-1]) + 1
    position, flat = c2w[:stop, :3, 3], c2w[:stop, :3, :3].reshape(stop, 9)
    offset = np.zeros((len(rows), stop))
    for axis in range(3):
        offset += np.square(position[rows, axis, None] - position[None, :, axis])
    cosine = np.clip((flat[rows] @ flat.T - 1.0) / 2.0, -1.0, 1.0)
    distance: Float64[np.ndarray, "rows earlier"] = np.sqrt(offset) + np.arccos(cosine) / np.pi
    return distance


def _revisits_of(
    rows: Int64[np.ndarray, " rows"],
    distance: Float64[np.ndarray, "rows earlier"],
    max_distance: float,
    min_gap_frames: int,
) -> list[Revisit]:
    column = np.arange(distance.shape[1])
    earlier = column < rows[:, None]
    near: Bool[np.ndarray, "rows earlier"] = distance <= max_distance
    last_away = np.max(np.where(~near & earlier, column, -1), axis=1)
    candidate = near & (column <= rows[:, None] - min_gap_frames) & (column < last_away[:, None])
    # Rounded, so that noise in the last digits does not choose between equal views: the earlier one wins.
    gap = np.where(candidate, np.round(distance, 6), np.inf)
    good = candidate & (gap <= gap.min(axis=1, keepdims=True) + VISIT_SLACK)
    first = np.argmax(good, axis=1)
    after = column > first[:, None]
    visit_end = np.where((~good & after).any(axis=1), np.argmax(~good & after, axis=1), len(column))
    visit = good & (column < visit_end[:, None])
    best = np.argmin(np.where(visit, gap, np.inf), axis=1)
    return [
        Revisit(frame=int(rows[i]), first_frame=int(best[i]), distance=float(distance[i, best[i]]))
        for i in np.flatnonzero(candidate.any(axis=1))
    ]


def revisit_segments(pairs: list[Revisit], *, max_jump_frames: int = 12) -> list[RevisitSegment]:
    """Merge revisits of consecutive frames whose first visits also lie close together.

    Args:
        pairs: Revisits in order of frame, as `revisits` returns them.
        max_jump_frames: A larger jump between the first visits of consecutive frames starts a new segment.
    """
    groups: list[list[Revisit]] = []
    for pair in pairs:
        last = groups[-1][-1] if groups else None
        follows = last is not None and pair.frame == last.frame + 1
        if last is not None and follows and abs(pair.first_frame - last.first_frame) <= max_jump_frames:
            groups[-1].append(pair)
        else:
            groups.append([pair])
    return [
        RevisitSegment(
            start=group[0].frame,
            stop=group[-1].frame,
            first_start=group[0].first_frame,
            first_stop=group[-1].first_frame,
            min_gap_frames=min(pair.gap_frames for pair in group),
            max_gap_frames=max(pair.gap_frames for pair in group),
        )
        for group in groups
    ]
