"""Do retrieved tokens show what the coming chunk will see? Measured in mini's rooms, where depth is known.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.true_matches                # rules for rays, 8 rooms a path
    OMP_NUM_THREADS=1 python -m tests.benchmarks.true_matches --what strategies --grid 30 52 --rooms 3

For every path, room and a few coming chunks: `precise` is the share of the retrieved tokens whose middle
shows a surface point that the coming chunk will see, too, walls and pillars in between considered; `cover` is
the share of the points that the coming chunk will see, among those that any candidate frame saw, that a
retrieved token shows.

Rules are tried as plain all-pairs distances: `turned` looks at directions and at the distance between cameras
(weight in radians a unit), `one depth`, `min` and `mean` put the surface at given depths, `arc` is what
`Rays` does, `true depth` knows.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from core.memory.selection import Selection
from core.memory.strategies.base import Strategy
from core.memory.strategies.coverage import Coverage
from core.memory.strategies.pose import Pose
from core.memory.strategies.ray_depths import nearest_depth, towards
from core.memory.strategies.ray_tokens import LEVEL_OFFSET
from core.memory.strategies.rays import Rays
from core.memory.viewpoints import Viewpoints
from core.models.mini.rooms import make_rooms
from core.models.mini.sight import RoomShape, Sight
from tests.benchmarks.room_paths import ROOM_PATHS

IMAGE_SIZE = (80, 48)
SAMPLES = (12, 20)
"""Rows and columns of sampled points of a coming frame."""
CHUNKS = range(12, 60, 6)
SINK_CHUNKS, RECENT_CHUNKS = 1, 2


def room_around(positions: np.ndarray, seed: int) -> RoomShape:
    """A room around a path."""
    return RoomShape.of(
        make_rooms(torch.tensor(positions[None]).float(), torch.Generator().manual_seed(seed))
    )


@dataclass(frozen=True)
class Scene:
    """A rollout's cameras in a room."""

    views: Viewpoints
    room: RoomShape

    def surface(self, frames: np.ndarray, views: Viewpoints) -> np.ndarray:
        """What the middles of the tokens of some frames show: (frames * tokens, 3)."""
        return Sight(views, self.room).surface(frames)

    def seen(self, points: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """Token that shows each point in each frame, -1 where it is out of view or hidden."""
        return Sight(self.views, self.room).seen(points, frames)

    def judge(self, chunk: int, tokens: np.ndarray) -> tuple[float, float]:
        """`precise` and `cover` of retrieved tokens: frame of the rollout * tokens of a frame + token."""
        views, coming = self.views, np.array(self.views.frames_of(chunk))
        frames, within = np.divmod(np.sort(tokens), views.tokens_per_frame)
        used, place = np.unique(frames, return_inverse=True)
        shown = self.surface(used, views).reshape(len(used), -1, 3)[place, within]
        precise = (self.seen(shown, coming) >= 0).any(axis=0).mean()
        points = self.surface(coming, lay(views.c2w, SAMPLES))
        candidates = np.arange(SINK_CHUNKS * 3, (chunk - RECENT_CHUNKS) * 3)
        token = self.seen(points, candidates)
        known = np.isin(candidates[:, None] * views.tokens_per_frame + token, tokens) & (token >= 0)
        ever = (token >= 0).any(axis=0)
        return float(precise), float(known.any(axis=0)[ever].mean()) if ever.any() else math.nan


def lay(c2w: np.ndarray, grid: tuple[int, int]) -> Viewpoints:
    """Cameras 90 degrees wide."""
    return Viewpoints(
        c2w=c2w, intrinsics=np.tile([40.0, 40.0, 40.0, 24.0], (len(c2w), 1)), image_size=IMAGE_SIZE, grid=grid
    )


Rule = Callable[[Scene, np.ndarray, np.ndarray], np.ndarray]
"""Distances (queries, stored tokens) of the tokens of some coming frames to those of past frames."""


def _at_depths(combine: Callable[[np.ndarray], np.ndarray], *depths: float) -> Rule:
    """Query points at these depths, seen from the past cameras."""

    def rule(scene: Scene, coming: np.ndarray, past: np.ndarray) -> np.ndarray:
        rays, offsets, stored = _geometry(scene.views, coming, past)
        return combine(np.stack([_angles(rays + offsets / depth, stored) for depth in depths]))

    return rule


def _turned(weight: float) -> Rule:
    def rule(scene: Scene, coming: np.ndarray, past: np.ndarray) -> np.ndarray:
        rays, offsets, stored = _geometry(scene.views, coming, past)
        gaps = np.linalg.norm(offsets, axis=-1).T
        return _angles(rays + 0 * offsets, stored) + weight * np.repeat(gaps, stored.shape[1], axis=1)

    return rule


def _arc(weight: float, nearest: float | None = None) -> Rule:
    def rule(scene: Scene, coming: np.ndarray, past: np.ndarray) -> np.ndarray:
        rays, offsets, stored = _geometry(scene.views, coming, past)
        aims, half = towards(rays, offsets / (nearest or nearest_depth(scene.views)))
        gaps = half + weight * np.linalg.norm(offsets, axis=-1)
        return _angles(aims, stored) + np.repeat(gaps.T, stored.shape[1], axis=1)

    return rule


def _true_depth(scene: Scene, coming: np.ndarray, past: np.ndarray) -> np.ndarray:
    rays, offsets, stored = _geometry(scene.views, coming, past)
    origins = np.repeat(scene.views.positions[coming], stored.shape[1], axis=0)
    return _angles(rays * scene.room.distances(origins, rays)[:, None] + offsets, stored)


def _geometry(
    views: Viewpoints, coming: np.ndarray, past: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Query rays, offsets (past, queries, 3) from past cameras to theirs, stored rays (past, tokens, 3)."""
    centres, rays = views.rays(coming)
    past_centres, stored = views.rays(past)
    centres = np.repeat(centres, stored.shape[1], axis=0)
    return rays.reshape(-1, 3), centres - past_centres[:, None], stored


def _angles(directions: np.ndarray, stored: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(directions, axis=-1, keepdims=True)
    cosines = np.einsum("fqc,ftc->qft", directions / np.maximum(length, 1e-9), stored)
    return np.arccos(np.clip(cosines, -1, 1)).reshape(directions.shape[1], -1)


RULES: dict[str, Rule] = {
    "turned": _turned(0.0),
    "turned + 0.3": _turned(0.3),
    "turned + 1 (the old rule)": _turned(1.0),
    "one depth 2": _at_depths(lambda a: a[0], 2.0),
    "one depth 4": _at_depths(lambda a: a[0], 4.0),
    "min of 1, 2, 4, 8": _at_depths(lambda a: a.min(0), 1.0, 2.0, 4.0, 8.0),
    "mean of 1, 2, 4, 8": _at_depths(lambda a: a.mean(0), 1.0, 2.0, 4.0, 8.0),
    "arc from 2": _arc(0.0, 2.0),
    "arc from 4": _arc(0.0, 4.0),
    "arc from 4 + 0.6": _arc(0.6, 4.0),
    "arc from 4 + 1": _arc(1.0, 4.0),
    "arc by the path": _arc(0.0),
    "arc by the path + 1": _arc(1.0),
    "true depth": _true_depth,
}


def by_rule(rule: Rule) -> Callable[[Scene, int, int], np.ndarray]:
    """The nearest token of every query, then the second nearest, ..., as `Rays` does."""

    def choose(scene: Scene, chunk: int, budget: int) -> np.ndarray:
        views, past = scene.views, np.arange(SINK_CHUNKS * 3, (chunk - RECENT_CHUNKS) * 3)
        distances = rule(scene, np.array(views.frames_of(chunk)), past)
        levels = np.floor(distances / (0.25 * views.token_pitch_rad) + LEVEL_OFFSET).astype(np.int64)
        keys = np.sort(levels * distances.shape[1] + np.arange(distances.shape[1]), axis=1)
        by_rank = np.sort(keys.T, axis=1).reshape(-1) % distances.shape[1]
        _, first = np.unique(by_rank, return_index=True)
        return by_rank[np.sort(first)[:budget]] + past[0] * views.tokens_per_frame

    return choose


def by_strategy(strategy: Strategy) -> Callable[[Scene, int, int], np.ndarray]:
    def choose(scene: Scene, chunk: int, budget: int) -> np.ndarray:
        found = strategy.select(scene.views, chunk, range(SINK_CHUNKS, chunk - RECENT_CHUNKS), budget)
        return np.concatenate([np.empty(0, dtype=np.int64), *(_tokens(s, scene.views) for s in found)])

    return choose


def _tokens(selection: Selection, views: Viewpoints) -> np.ndarray:
    within = np.arange(views.tokens_per_chunk) if selection.tokens is None else selection.tokens
    return selection.chunk * views.tokens_per_chunk + within


def strategies(chunks: int) -> dict[str, Strategy]:
    old = {"near_depth": math.inf, "translation_weight": 1.0}
    return {
        "pose": Pose(num_chunks=chunks),
        "coverage": Coverage(num_chunks=chunks),
        "rays, the old rule": Rays(**old),
        "rays": Rays(),
        "rays, true to depth": Rays(near_depth=4.0, translation_weight=0.0),
    }


def scenes(path: str, rooms: int, grid: tuple[int, int]) -> Iterator[Scene]:
    for seed in range(rooms):
        c2w = ROOM_PATHS[path](seed)
        yield Scene(lay(c2w, grid), room_around(c2w[:, :3, 3], seed))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--what", choices=("rules", "strategies"), default="rules")
    parser.add_argument("--paths", nargs="+", choices=ROOM_PATHS, default=list(ROOM_PATHS))
    parser.add_argument("--rooms", type=int, default=8)
    parser.add_argument("--chunks", type=float, nargs="+", default=[1, 3], help="budget in chunks' worth")
    parser.add_argument("--grid", type=int, nargs=2, default=[3, 5], help="rows and columns of tokens")
    args = parser.parse_args()
    for size in args.chunks:
        budget = round(size * 3 * args.grid[0] * args.grid[1])
        choosers = {name: by_rule(rule) for name, rule in RULES.items()}
        if args.what == "strategies":
            choosers = {name: by_strategy(s) for name, s in strategies(max(1, int(size))).items()}
        print(f"{budget} tokens; tokens taken, precise, cover in %; {args.rooms} rooms a path")
        print(f"{'':26}" + "".join(f"{path:>18}" for path in [*args.paths, "mean"]))
        table: dict[str, list[np.ndarray]] = {name: [] for name in choosers}
        for path in args.paths:
            found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in choosers}
            for scene in scenes(path, args.rooms, tuple(args.grid)):
                for chunk in CHUNKS:
                    for name, choose in choosers.items():
                        tokens = choose(scene, chunk, budget)
                        found[name].append((len(tokens) / budget, *scene.judge(chunk, tokens)))
            for name, rows in found.items():
                table[name].append(100 * np.nanmean(np.array(rows), axis=0))
        for name, rows in table.items():
            cells = "".join(f"{a:7.0f}{b:6.1f}{c:6.1f}"[1:] for a, b, c in [*rows, np.mean(rows, axis=0)])
            print(f"{name:26}{cells}", flush=True)


if __name__ == "__main__":
    main()
