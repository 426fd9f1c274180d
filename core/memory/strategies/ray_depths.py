"""Where the surface that a ray shows may be seen from another camera, when its depth is not known.

It lies between a nearest depth and infinity. From the other camera that is an arc: from the direction to the
ray's point at the nearest depth to the direction of the ray itself. Its middle is compared with the other
camera's rays, and half of its angle is what may be wrong with that. Where both cameras stand at one place the
arc is the ray: rotations are exact.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Float64

from core.memory.viewpoints import Viewpoints

STRETCH_FRAMES = 90
"""Latent frames over which the extent of a path is taken: of a long walk the last metres count, not all."""

NEAREST_EXTENTS = 2.0
"""Nearest depth, in extents of the path. On paths through rooms anything from 1 to 3 does as well."""


def nearest_depth(viewpoints: Viewpoints) -> float:
    """Nearest depth at which a surface is expected, in trajectory units, from how far the camera moves about.

    The extent is the distance of the camera from its mean position, root mean square over stretches of the
    path. Infinite for a camera that only turns: depth means nothing to it.
    """
    stretches = range(0, max(1, viewpoints.num_frames - STRETCH_FRAMES // 2), STRETCH_FRAMES // 2)
    square = np.mean(
        [viewpoints.positions[s : s + STRETCH_FRAMES].var(axis=0).sum() for s in stretches], dtype=np.float64
    )
    scale = max(1.0, float(np.abs(viewpoints.positions).max()))
    extent = math.sqrt(float(square))
    return NEAREST_EXTENTS * extent if extent > 1e-9 * scale else math.inf


def arcs(
    along: Float[np.ndarray, "*pairs"], square: Float[np.ndarray, "*#pairs"]
) -> tuple[Float[np.ndarray, "*pairs"], Float[np.ndarray, "*pairs"], Float[np.ndarray, "*pairs"]]:
    """The arcs of unit rays, moved by an offset that is given in nearest depths.

    Args:
        along: Product of the ray with the offset from the other camera to the ray's own.
        square: Square of the offset's length.

    Returns:
        Factor by which the ray is stretched before the offset is added to it, which gives the direction of
        the arc's middle; length of that sum; half of the arc's angle in radians. Without an offset 2, 2, 0.
    """
    reach = np.sqrt(np.maximum(1 + 2 * along + square, 1e-12))
    cosine = np.clip((1 + along) / reach, -1, 1)
    length = np.maximum(reach * np.sqrt(2 + 2 * cosine), 1e-6)
    return 1 + reach, length, 0.5 * np.arccos(cosine)


def towards(
    rays: Float64[np.ndarray, "q 3"], offsets: Float64[np.ndarray, "frames q 3"]
) -> tuple[Float64[np.ndarray, "frames q 3"], Float64[np.ndarray, "frames q"]]:
    """Middle directions and half angles of the arcs of some rays, seen from several cameras each.

    Args:
        rays: Unit directions in the world's axes.
        offsets: From each other camera to the ray's own, in nearest depths; zeros for rays as they are.
    """
    stretch, length, half = arcs(np.einsum("qc,fqc->fq", rays, offsets), np.square(offsets).sum(axis=-1))
    middle = (rays * stretch[..., None] + offsets) / length[..., None]
    return middle, half
