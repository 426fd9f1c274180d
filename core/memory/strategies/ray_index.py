"""Which past frames are worth comparing ray by ray: duplicates left out, far ones skipped in groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64

from core.memory.viewpoints import Viewpoints

GROUP_FRAMES = 12
"""Kept frames that follow each other and are looked at, or skipped, as one."""

MISALIGNMENT = 0.25
"""Radians that a radian between viewing axes counts for when groups are ranked: the better aligned of two
groups in view is looked at first."""


@dataclass(frozen=True, eq=False)
class FrameIndex:
    """Past frames that can win, in the order in which they appear, and groups of such that follow each other.

    Attributes:
        frames: Latent frames.
        born: For each, its place among all candidate frames: later chunks may choose from longer prefixes.
        positions: Camera centres.
        centres: Middle of the camera centres of each group.
        radii: Furthest camera centre of a group from its middle.
        axes: Mean viewing axis of each group.
        spreads: Furthest viewing axis of a group from its mean, in radians.
        cones: The same with the frames' own viewing cones, which hold all rays of the group.
        starts: `born` of the first to appear in each group.
    """

    frames: Int64[np.ndarray, " frames"]
    born: Int64[np.ndarray, " frames"]
    positions: Float64[np.ndarray, "frames 3"]
    centres: Float64[np.ndarray, "groups 3"]
    radii: Float32[np.ndarray, " groups"]
    axes: Float32[np.ndarray, "groups 3"]
    spreads: Float32[np.ndarray, " groups"]
    cones: Float32[np.ndarray, " groups"]
    starts: Int64[np.ndarray, " groups"]

    @property
    def num_groups(self) -> int:
        """Groups of frames."""
        return len(self.radii)

    def group_ranks(
        self,
        positions: Float64[np.ndarray, "b m 3"],
        axes: Float64[np.ndarray, "b m 3"],
        groups: int,
        *,
        weight: float,
    ) -> Float32[np.ndarray, "b groups"]:
        """Nearest possible distance plus misalignment of the first groups, for coming chunks, in radians."""
        # Squares of distances from the middle of the cameras: near groups keep their precision.
        middle = positions.mean(axis=(0, 1))
        flat = (positions - middle).reshape(-1, 3).astype(np.float32)
        centres = (self.centres[:groups] - middle).astype(np.float32)
        ranks = flat @ (-2 * centres.T)
        ranks += (flat * flat).sum(axis=1)[:, None]
        ranks += (centres * centres).sum(axis=1)
        np.sqrt(np.maximum(ranks, 0, out=ranks), out=ranks)
        ranks -= self.radii[:groups]
        np.maximum(ranks, 0, out=ranks)
        ranks *= np.float32(weight)
        angles = axes.reshape(-1, 3).astype(np.float32) @ self.axes[:groups].T
        np.arccos(np.clip(angles, -1, 1, out=angles), out=angles)
        angles -= self.spreads[:groups]
        np.maximum(angles, 0, out=angles)
        beyond = angles - (self.cones - self.spreads)[:groups]
        ranks += np.maximum(beyond, 0, out=beyond)
        angles *= np.float32(MISALIGNMENT)
        ranks += angles
        return np.asarray(ranks.reshape(*positions.shape[:2], -1).min(axis=1))


def frame_index(
    viewpoints: Viewpoints,
    frames: Int64[np.ndarray, " frames"],
    *,
    cones: Float64[np.ndarray, " all_frames"],
    copies: int | None,
    slack_rad: float,
    weight: float,
    group_frames: int = GROUP_FRAMES,
) -> FrameIndex:
    """Index candidate frames.

    Args:
        viewpoints: Cameras.
        frames: Candidate frames in the order in which they appear.
        cones: Angle around each frame's viewing axis that holds its rays, for all frames of the rollout.
        copies: How many of frames with nearly the same viewpoint are kept, the first to appear; None for all.
        slack_rad: Distance up to which rays of such frames may differ.
        weight: Radians that one trajectory unit between camera centres counts for.
        group_frames: Kept frames of a group.
    """
    born = np.arange(len(frames), dtype=np.int64)
    if copies is not None:
        born = born[_copy_number(viewpoints, frames, slack_rad, weight) < copies]
    kept = frames[born]
    members = np.minimum(
        np.arange(-(-len(kept) // group_frames) * group_frames).reshape(-1, group_frames), len(kept) - 1
    )
    positions, axes = viewpoints.positions[kept], viewpoints.forwards[kept]
    centres, mean_axes = positions[members].mean(axis=1), axes[members].mean(axis=1)
    length = np.linalg.norm(mean_axes, axis=-1, keepdims=True)
    mean_axes = np.where(length > 1e-6, mean_axes / np.maximum(length, 1e-6), axes[members[:, 0]])
    radii = np.linalg.norm(positions[members] - centres[:, None], axis=-1).max(axis=1)
    off_axis = np.arccos(np.clip(np.einsum("gmc,gc->gm", axes[members], mean_axes), -1, 1))
    return FrameIndex(
        frames=kept,
        born=born,
        positions=positions,
        centres=centres,
        radii=radii.astype(np.float32),
        axes=mean_axes.astype(np.float32),
        spreads=off_axis.max(axis=1).astype(np.float32),
        cones=(off_axis + cones[kept][members]).max(axis=1).astype(np.float32),
        starts=born[members].min(axis=1),
    )


def _copy_number(
    viewpoints: Viewpoints, frames: Int64[np.ndarray, " frames"], slack_rad: float, weight: float
) -> Int64[np.ndarray, " frames"]:
    """How many earlier frames lie in the same small box of positions, rotations and intrinsics.

    Half of the slack is for the position, half for the rotation. A rotation by an angle a moves every entry
    of the matrix by at most a, and no ray by more than a; two matrices whose nine entries differ by at most s
    each are no more than 3 s / sqrt(2) * pi / 2 apart.
    """
    edge = slack_rad / 2 / (3 / np.sqrt(2) * np.pi / 2)
    rotations = viewpoints.c2w[frames, :3, :3].reshape(-1, 9) / edge
    sides = [np.floor(rotations + 0.5), viewpoints.intrinsics[frames]]
    if weight > 0:
        sides.append(np.floor(viewpoints.positions[frames] * (weight * 2 * np.sqrt(3) / slack_rad) + 0.5))
    box = np.unique(np.concatenate(sides, axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    order = np.argsort(box, kind="stable")
    first = np.r_[True, np.diff(box[order]) != 0]
    rank = np.arange(len(order)) - np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
    numbers = np.empty(len(order), dtype=np.int64)
    numbers[order] = rank
    return numbers
