"""Latent-frame cameras of a letter string, written from section 11 of the golden data's specification."""

import itertools

import numpy as np
import torch

from trajectories.formats.letters import reference_c2w


def naive_cameras(trajectory: dict, frame_num: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Absolute and relative poses [latent frame, 4, 4], float32, of an entry of the manifest."""
    holds = trajectory["hold_frames"]
    holds = [int(number) for number in holds.split(",")] if holds else None
    c2w = reference_c2w(trajectory["letters"], trajectory["frames"], holds)
    used = min((frame_num - 1) // 4 * 4 + 1, (len(c2w) - 1) // 4 * 4 + 1)
    frames = ((used - 1) // 4 + 1) // 3 * 3
    absolute = resampled(c2w[:used], frames)
    return torch.from_numpy(absolute), torch.from_numpy(frame_to_frame(absolute))


def resampled(c2w: np.ndarray, frames: int) -> np.ndarray:
    """Poses at `frames` even places from the first to the last: positions linearly, rotations by slerp."""
    out = np.tile(np.eye(4), (frames, 1, 1))
    for frame, at in enumerate(np.linspace(0, len(c2w) - 1, frames)):
        left = min(int(at), len(c2w) - 2)
        part = at - left
        a, b = c2w[left].astype(np.float64), c2w[left + 1].astype(np.float64)
        out[frame, :3, 3] = (1 - part) * a[:3, 3] + part * b[:3, 3]
        out[frame, :3, :3] = a[:3, :3] @ _part_of(a[:3, :3].T @ b[:3, :3], part)
    return out.astype(np.float32)


def _part_of(rotation: np.ndarray, part: float) -> np.ndarray:
    """The rotation about the same axis by a part of the angle (Rodrigues)."""
    turn = rotation - rotation.T
    axis = np.array([turn[2, 1], turn[0, 2], turn[1, 0]]) / 2  # times the sine of the angle
    sine, cosine = np.linalg.norm(axis), (np.trace(rotation) - 1) / 2
    if sine < 1e-12:
        return np.eye(3)
    x, y, z = axis / sine
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = part * np.arctan2(sine, cosine)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def frame_to_frame(absolute: np.ndarray, *, normalised: bool = True) -> np.ndarray:
    """Each pose in the frame of the one before it, translations divided by the largest of the clip."""
    poses = absolute.astype(np.float64)
    first = np.linalg.inv(poses[0])
    to_first = [np.eye(4), *(first @ pose for pose in poses[1:])]
    steps = [np.eye(4), *(np.linalg.inv(a) @ b for a, b in itertools.pairwise(to_first))]
    out = np.stack(steps)
    largest = np.linalg.norm(out[:, :3, 3], axis=1).max()
    if normalised and largest > 0:
        out[:, :3, 3] /= largest
    return out.astype(np.float32)
