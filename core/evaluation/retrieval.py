"""Was what the coming chunk sees in the window? Against true surfaces where they are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int64

from core.elements import FLOAT32
from core.evaluation.recording import Recording
from core.evaluation.truth import why_no_truth
from core.fitting import remember
from core.memory.plan import MemoryPlan
from core.memory.prune_policy import kept_tokens
from core.memory.schedule import HIT_OVERLAP
from core.memory.viewpoints import Viewpoints
from core.models.mini.model import WEIGHTS, read_config
from core.models.mini.sight import RoomShape, Sight
from core.models.mini.world import World, relative_cameras
from core.models.registry import model_entry
from core.schemas.eval import RetrievalScore
from core.schemas.run import ChunkRecord

LOOKED_AT = (6, 10)
"""Rows and columns of the points of a coming frame."""
MOST_CHUNKS = 64
"""Coming chunks that are judged, evenly spread: each is compared with all the past."""


@dataclass(frozen=True)
class _Judged:
    """One coming chunk; of tokens None where nobody knows which they were."""

    hits: int
    misses: int
    idle: int
    retrieved: int
    precise: float | None
    covered: float | None


def retrieval_score(recording: Recording, stop: int) -> RetrievalScore | None:
    """Precision and recall of what a run had in its window; None if no chunk had a past out of the window.

    Of the embedded model's own worlds by true depth, for others by the points that the run itself sampled.

    Args:
        recording: The run.
        stop: Chunks that begin before this video frame count.
    """
    records = [each for each in recording.log.chunks if not each.given and each.first_frame < stop]
    if not why_no_truth(recording):
        plan = _plan_again(recording)
        if plan is not None:
            return _by_depth(recording, plan, records)
    return _by_log(recording, records)


def _by_log(recording: Recording, records: Sequence[ChunkRecord]) -> RetrievalScore | None:
    hits, misses, idle = (sum(getattr(each, name) for each in records) for name in ("hits", "misses", "idle"))
    retrieved = sum(len(each.retrieved) for each in records)
    if not hits + misses + retrieved:
        return None
    overlap = recording.log.plan.get("hit_overlap", HIT_OVERLAP)
    return RetrievalScore(
        basis="sampled",
        hit_overlap=float(overlap),
        chunks=len(records),
        hits=hits,
        misses=misses,
        idle=idle,
        precision=(retrieved - idle) / retrieved if retrieved else None,
        recall=hits / (hits + misses) if hits + misses else None,
    )


def _plan_again(recording: Recording) -> MemoryPlan | None:
    """What the run's memory did, from its settings; None if its log tells of something else."""
    outline = model_entry(recording.config.model).outliner()(recording.config, recording.script)
    plan = remember(recording.resolved, outline, FLOAT32).plan
    for record, step in zip(recording.log.chunks, plan.steps, strict=False):
        if [each.chunk for each in record.retrieved] != [each.chunk for each in step.selections]:
            return None
    return plan


def _by_depth(
    recording: Recording, plan: MemoryPlan, records: Sequence[ChunkRecord]
) -> RetrievalScore | None:
    sights = _sights(recording)
    coming = [each.chunk for each in records if plan.layout.outside(each.chunk)]
    if len(coming) > MOST_CHUNKS:
        chosen = np.linspace(0, len(coming) - 1, MOST_CHUNKS).round().astype(int)
        coming = [coming[index] for index in chosen]
    judged = [_judge(plan, *sights, chunk) for chunk in coming]
    hits, misses, idle = (sum(getattr(each, name) for each in judged) for name in ("hits", "misses", "idle"))
    retrieved = sum(each.retrieved for each in judged)
    if not hits + misses + retrieved:
        return None
    return RetrievalScore(
        basis="depth",
        hit_overlap=HIT_OVERLAP,
        chunks=len(judged),
        hits=hits,
        misses=misses,
        idle=idle,
        precision=(retrieved - idle) / retrieved if retrieved else None,
        recall=hits / (hits + misses) if hits + misses else None,
        token_precision=_mean([each.precise for each in judged]),
        token_recall=_mean([each.covered for each in judged]),
    )


def _sights(recording: Recording) -> tuple[Sight, Sight]:
    """The run's cameras in its room: with points of the picture, and with the tokens' middles."""
    trajectory = recording.script.trajectory
    world = World.around(trajectory, recording.config.world_seed, read_config(WEIGHTS))
    outline = model_entry(recording.config.model).outliner()(recording.config, recording.script)
    views = replace(outline.viewpoints, c2w=relative_cameras(trajectory.c2w))
    room = RoomShape.of(world.rooms)
    return Sight(replace(views, grid=LOOKED_AT), room), Sight(views, room)


def _judge(plan: MemoryPlan, points: Sight, tokens: Sight, chunk: int) -> _Judged:
    """One coming chunk against all chunks out of its native window."""
    views, past, step = tokens.views, plan.layout.outside(chunk), plan.steps[chunk]
    frames = np.arange(past.start * views.chunk_frames, past.stop * views.chunk_frames)
    cells = tokens.seen(points.surface(np.array(views.frames_of(chunk))), frames)
    by_chunk = (cells >= 0).reshape(len(past), views.chunk_frames, -1).any(axis=1)
    relevant = set((past.start + np.flatnonzero(by_chunk.mean(axis=1) >= HIT_OVERLAP)).tolist())
    retrieved = {each.chunk for each in step.selections}
    hits = len(relevant & retrieved)
    chosen = _retrieved_tokens(plan, views, chunk)
    precise = covered = None
    if chosen is not None:
        ever = (cells >= 0).any(axis=0)
        labels = frames[:, None] * views.tokens_per_frame + cells
        shown = np.asarray((cells >= 0) & np.isin(labels, chosen)).any(axis=0)
        covered = float(shown.sum() / ever.sum()) if ever.any() else None
        precise = _precise(tokens, chosen, chunk) if len(chosen) else None
    return _Judged(hits, len(relevant) - hits, len(retrieved - relevant), len(retrieved), precise, covered)


def _precise(sight: Sight, chosen: Int64[np.ndarray, " tokens"], chunk: int) -> float:
    """Share of the tokens whose middle the coming chunk sees."""
    frames, within = np.divmod(chosen, sight.views.tokens_per_frame)
    used, place = np.unique(frames, return_inverse=True)
    shown = sight.surface(used).reshape(len(used), -1, 3)[place, within]
    return float((sight.seen(shown, np.array(sight.views.frames_of(chunk))) >= 0).any(axis=0).mean())


def _retrieved_tokens(plan: MemoryPlan, views: Viewpoints, chunk: int) -> Int64[np.ndarray, " tokens"] | None:
    """What a chunk retrieves, as rollout frame * tokens_per_frame + token; None if keys decided."""
    if plan.pruning.needs_keys and plan.steps[chunk].selections:
        return None
    found = [np.empty(0, dtype=np.int64)]
    for selection in plan.steps[chunk].selections:
        within = selection.tokens
        if within is None:
            within = kept_tokens(plan.pruning, views, selection.chunk)
        if within is None:
            return None
        found.append(selection.chunk * views.tokens_per_chunk + within)
    return np.concatenate(found)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
