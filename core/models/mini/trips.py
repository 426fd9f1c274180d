"""Random camera trips for training: turns, walks, arcs and pauses, most of which come back.

A training sample is a few chunks of a longer trip, with true or stretched time positions between them, so
that missing chunks and long distances in time are seen in training. This is what lets retrieval work.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from core.models.mini.config import CHUNK_FRAMES
from trajectories.geometry import c2w_from_angles

MAX_EXTENT = 3.5  # world units from the start
MAX_TRIP_CHUNKS = 35
MAX_STRETCHES = 2  # gaps of a clip that get extra time
MAX_STRETCH_CHUNKS = 1000 / 3
MAX_TIME_FRAMES = CHUNK_FRAMES * int(MAX_TRIP_CHUNKS + MAX_STRETCHES * MAX_STRETCH_CHUNKS)
"""No latent frame number in training is as large."""


@dataclass(frozen=True)
class Clip:
    """A training sample's cameras.

    Attributes:
        path: Positions of the whole trip: the room is built around them.
        c2w: Cameras of the chosen frames, relative to the trip's first frame.
        times: Latent frame number of each chosen frame in the (imagined) rollout.
        fov_deg: Horizontal field of view.
    """

    path: Float64[np.ndarray, "trip 3"]
    c2w: Float64[np.ndarray, "frames 4 4"]
    times: Int64[np.ndarray, " frames"]
    fov_deg: float


def camera_matrices(
    yaw: Float64[np.ndarray, " frames"],
    pitch: Float64[np.ndarray, " frames"],
    position: Float64[np.ndarray, "frames 3"],
) -> Float64[np.ndarray, "frames 4 4"]:
    """Camera-to-world of yaw (right positive) and pitch (up positive) in radians."""
    angles = np.stack((yaw, pitch, np.zeros_like(yaw)), axis=-1)
    return c2w_from_angles(position, np.rad2deg(angles))


def _segments(rng: np.random.Generator, frames: int, kind: str) -> np.ndarray:
    """Per-frame motion (yaw step, forward, right), `frames` rows."""
    rows: list[np.ndarray] = []
    rate = np.deg2rad(rng.uniform(2.0, 14.0))
    sign = rng.choice((-1.0, 1.0))
    while len(rows) < frames:
        if kind == "spin":
            rows += [np.array((sign * rate, 0.0, 0.0))] * frames
            break
        choice = rng.random()
        if rng.random() < 0.5:
            rate = np.deg2rad(rng.uniform(2.0, 14.0))
        turn = rng.choice((-1.0, 1.0)) * rate
        count = int(np.clip(np.deg2rad(rng.uniform(30.0, 200.0)) / rate, 3, 60))
        speed = rng.uniform(0.03, 0.22)
        walk_frames = int(rng.integers(4, 16))
        if choice < 0.5:
            rows += [np.array((turn, 0.0, 0.0))] * count
        elif choice < 0.78:
            heading = rng.choice((0.0, 0.0, 0.0, np.pi, np.pi / 2, -np.pi / 2))
            step = np.array((0.0, speed * np.cos(heading), speed * np.sin(heading)))
            rows += [step] * walk_frames
        elif choice < 0.92:
            rows += [np.array((turn * 0.6, speed, 0.0))] * walk_frames
        else:
            rows += [np.zeros(3)] * int(rng.integers(1, 5))
    return np.array(rows[:frames])


def random_trip(
    rng: np.random.Generator, frames: int
) -> tuple[Float64[np.ndarray, "frames 4 4"], Float64[np.ndarray, "frames 3"]]:
    """Cameras and positions of a trip that mostly revisits; the first camera is the identity."""
    kind = rng.choice(("retrace", "back_and_forth", "spin", "wander"), p=(0.4, 0.25, 0.15, 0.2))
    if kind in ("retrace", "back_and_forth"):
        leg = max(3, frames // 2 if kind == "retrace" else int(rng.integers(5, max(6, frames // 2))))
        out = _segments(rng, leg, "wander")
        # walking back: undo the steps in reverse order
        cycle = np.concatenate((out, -out[::-1]))
        motion = np.tile(cycle, (frames // len(cycle) + 1, 1))[:frames]
        undo = np.tile(np.repeat((False, True), (leg, leg)), frames // len(cycle) + 1)[:frames]
    else:
        motion, undo = _segments(rng, frames, kind), np.zeros(frames, dtype=bool)
    yaw, position = _integrate(motion, undo)
    pitch = np.zeros(frames)
    if rng.random() < 0.2:
        pitch = np.deg2rad(rng.uniform(3, 15)) * np.sin(np.arange(frames) * rng.uniform(0.05, 0.4))
    extent = np.abs(position).max()
    if extent > MAX_EXTENT:
        position *= MAX_EXTENT / extent
    return camera_matrices(yaw, pitch, position), position


def _integrate(motion: np.ndarray, undo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Yaw and position at every frame; frame 0 is the start, the last motion row is not used."""
    frames = len(motion)
    yaw, position = np.zeros(frames), np.zeros((frames, 3))
    for i in range(1, frames):
        turn, forward, right = motion[i - 1]
        yaw[i] = yaw[i - 1] + turn
        heading = yaw[i] if undo[i - 1] else yaw[i - 1]  # a step back uses the heading of the step it undoes
        position[i] = position[i - 1] + forward * np.array((np.sin(heading), 0, np.cos(heading)))
        position[i] += right * np.array((np.cos(heading), 0, -np.sin(heading)))
    return yaw, position


def sample_clip(rng: np.random.Generator, num_chunks: int) -> Clip:
    """Cameras and time positions of one training sample of `num_chunks` chunks."""
    whole = rng.random() < 0.4
    trip_chunks = num_chunks if whole else int(rng.integers(num_chunks + 1, MAX_TRIP_CHUNKS + 1))
    c2w, path = random_trip(rng, trip_chunks * CHUNK_FRAMES)
    if whole:
        chunks = np.arange(num_chunks)
    else:
        first = 0 if rng.random() < 0.85 else 1  # sometimes the first chunk has left the window
        later = rng.choice(np.arange(1, trip_chunks), num_chunks - (1 - first), replace=False)
        chunks = np.sort(np.concatenate(([0] * (1 - first), later))).astype(np.int64)
        # a run of consecutive chunks at the end, as in a rollout: the newest ones are always there
        tail = min(int(rng.integers(1, 4)), num_chunks)
        chunks[-tail:] = np.arange(chunks[-1] - tail + 1, chunks[-1] + 1)
        chunks = _distinct(chunks, trip_chunks)
    frames = (chunks[:, None] * CHUNK_FRAMES + np.arange(CHUNK_FRAMES)).ravel()
    starts = _stretch(rng, chunks) if rng.random() < 0.5 else chunks
    times = (starts[:, None] * CHUNK_FRAMES + np.arange(CHUNK_FRAMES)).ravel()
    fov = 90.0 if rng.random() < 0.75 else float(rng.uniform(70.0, 100.0))
    return Clip(path=path, c2w=c2w[frames], times=times.astype(np.int64), fov_deg=fov)


def _distinct(chunks: np.ndarray, trip_chunks: int) -> np.ndarray:
    """The same number of chunks without repeats, in order."""
    kept = np.unique(chunks)
    spare = np.setdiff1d(np.arange(1, trip_chunks), kept)[: len(chunks) - len(kept)]
    return np.sort(np.concatenate((kept, spare)))


def _stretch(rng: np.random.Generator, chunks: np.ndarray) -> np.ndarray:
    """Chunk numbers with extra time put into one or two of the gaps: as if the camera had been elsewhere."""
    gaps = np.diff(chunks, prepend=0)
    for _ in range(int(rng.integers(1, MAX_STRETCHES + 1))):
        at = int(rng.integers(0, max(1, len(chunks) - 2)))
        gaps[at + (1 if chunks[0] == 0 else 0)] += int(np.exp(rng.uniform(0.0, np.log(MAX_STRETCH_CHUNKS))))
    return np.cumsum(gaps)
