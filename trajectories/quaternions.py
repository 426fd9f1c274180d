"""Unit quaternions (w, x, y, z) for interpolating rotations: numpy only, vectorised over frames."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

_TINY = 1e-12


def quaternions_from_rotations(
    rotations: Float64[np.ndarray, "frames 3 3"],
) -> Float64[np.ndarray, "frames 4"]:
    """Quaternions of rotation matrices; of the two signs, the one whose largest entry is positive."""
    m = rotations
    xx, yy, zz = m[:, 0, 0], m[:, 1, 1], m[:, 2, 2]
    # 4 q q^T, whose row with the largest diagonal entry gives q without loss of digits.
    outer = np.empty((len(m), 4, 4))
    diagonal = [1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz]
    outer[:, range(4), range(4)] = np.stack(diagonal, axis=-1)
    pairs = {
        (0, 1): m[:, 2, 1] - m[:, 1, 2],
        (0, 2): m[:, 0, 2] - m[:, 2, 0],
        (0, 3): m[:, 1, 0] - m[:, 0, 1],
        (1, 2): m[:, 0, 1] + m[:, 1, 0],
        (1, 3): m[:, 0, 2] + m[:, 2, 0],
        (2, 3): m[:, 1, 2] + m[:, 2, 1],
    }
    for (row, column), value in pairs.items():
        outer[:, row, column] = outer[:, column, row] = value
    largest = np.argmax(outer[:, range(4), range(4)], axis=1)
    return _normalised(outer[np.arange(len(m)), largest])


def rotations_from_quaternions(q: Float64[np.ndarray, "frames 4"]) -> Float64[np.ndarray, "frames 3 3"]:
    """Rotation matrices of unit quaternions."""
    w, x, y, z = q.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def slerp(
    a: Float64[np.ndarray, "frames 4"],
    b: Float64[np.ndarray, "frames 4"],
    share: Float64[np.ndarray, " frames"],
) -> Float64[np.ndarray, "frames 4"]:
    """Go `share` of the way from a to b along the shorter arc, at constant speed."""
    return multiply(a, exp(share[:, None] * log(multiply(conjugate(a), b))))


def multiply(
    a: Float64[np.ndarray, "frames 4"], b: Float64[np.ndarray, "frames 4"]
) -> Float64[np.ndarray, "frames 4"]:
    """The rotation b, then a (Hamilton product)."""
    aw, ax, ay, az = a.T
    bw, bx, by, bz = b.T
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        axis=-1,
    )


def conjugate(q: Float64[np.ndarray, "frames 4"]) -> Float64[np.ndarray, "frames 4"]:
    """The inverse rotation."""
    inverse: Float64[np.ndarray, "frames 4"] = q * np.array([1.0, -1.0, -1.0, -1.0])
    return inverse


def log(q: Float64[np.ndarray, "frames 4"]) -> Float64[np.ndarray, "frames 3"]:
    """Rotation vectors (axis times angle in radians, the shorter way round)."""
    q = np.where(q[:, :1] < 0, -q, q)
    sine = np.linalg.norm(q[:, 1:], axis=-1, keepdims=True)
    angle = 2.0 * np.arctan2(sine, q[:, :1])
    scale = np.where(sine > _TINY, angle / np.maximum(sine, _TINY), 2.0)
    vector: Float64[np.ndarray, "frames 3"] = q[:, 1:] * scale
    return vector


def exp(vector: Float64[np.ndarray, "frames 3"]) -> Float64[np.ndarray, "frames 4"]:
    """Quaternions of rotation vectors: the inverse of `log`."""
    angle = np.linalg.norm(vector, axis=-1, keepdims=True)
    parts = [np.cos(angle / 2), vector * (0.5 * np.sinc(angle / (2 * np.pi)))]
    q: Float64[np.ndarray, "frames 4"] = np.concatenate(parts, axis=-1)
    return q


def _normalised(q: Float64[np.ndarray, "frames 4"]) -> Float64[np.ndarray, "frames 4"]:
    unit: Float64[np.ndarray, "frames 4"] = q / np.linalg.norm(q, axis=-1, keepdims=True)
    return unit
