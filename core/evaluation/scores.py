"""One run in numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from core.evaluation.comparison import Metrics, compare_frames, gain_of, means_of
from core.evaluation.footage import Footage, read_footage
from core.evaluation.protocol import Protocol
from core.evaluation.recording import Recording
from core.evaluation.retrieval import retrieval_score
from core.evaluation.truth import find_truth, truth_psnrs, truth_score, why_no_truth
from core.fidelity.controls import matched_couples
from core.fidelity.pairs import FramePair, revisit_pairs
from core.fidelity.pictures import sharpness
from core.schemas.eval import PairMeans, RawFidelity, RunScore
from trajectories.summary import MAX_SEARCHED_FRAMES


@dataclass(frozen=True)
class _Compared:
    """What is compared of a run.

    Attributes:
        pairs: Revisits of which both frames are there.
        couples: Those of them whose controls are there, too, with these: what the gain is made of.
        searched: Whether the path was searched at all.
    """

    pairs: Sequence[FramePair] = ()
    couples: Sequence[tuple[FramePair, FramePair]] = ()
    searched: bool = True

    @property
    def controls(self) -> list[FramePair]:
        """Of the couples."""
        return [control for _, control in self.couples]

    @property
    def frames(self) -> set[int]:
        """All that are looked at."""
        return {f for pair in (*self.pairs, *self.controls) for f in (pair.later, pair.earlier)}


@dataclass(frozen=True)
class Place:
    """Where a run stands among those that are evaluated with it.

    Attributes:
        group: Name of its settings.
        rollout: Word for its trajectory, beginning and seeds.
        stop: Frames before this one are compared: what all runs of the trajectory have.
    """

    group: str
    rollout: str
    stop: int


def score_run(recording: Recording, place: Place, protocol: Protocol, metrics: Metrics) -> RunScore:
    """Read a run's video once and measure everything.

    Raises:
        InputError: The video cannot be read.
    """
    found = _compared(recording, protocol, place.stop)
    truth = find_truth(recording, found.pairs, protocol, place.stop)
    footage = read_footage(recording, found.frames | {0} | (truth.frames if truth else set()), place.stop)
    frames = footage.frames
    true = {} if truth is None else truth_psnrs(truth, frames)
    compare = partial(compare_frames, frames, c2w=recording.c2w, metrics=metrics, truth=true)
    returns, elsewhere = compare(found.pairs, kind="revisit"), compare(found.controls, kind="control")
    revisit, control = means_of(returns), means_of(elsewhere)
    coupled = {pair for pair, _ in found.couples}
    matched = means_of([each for each, pair in zip(returns, found.pairs, strict=True) if pair in coupled])
    config, log = recording.config, recording.log
    return RunScore(
        folder=str(recording.folder),
        group=place.group,
        rollout=place.rollout,
        model=config.model,
        trajectory=log.name,
        seed=config.seed,
        world_seed=config.world_seed,
        memory=config.memory,
        status=log.status,
        frames=footage.num_frames,
        fps=recording.video.fps,
        gain=gain_of(matched, control),
        revisit=revisit,
        control=control,
        control_gap_off_frames=_gap_off(found.couples),
        motion=footage.motion,
        start_sharpness=_start_sharpness(footage, found.pairs),
        raw=_raw(recording, protocol, revisit),
        truth=None if truth is None else truth_score(truth, frames, true),
        no_truth=why_no_truth(recording),
        retrieval=retrieval_score(recording, place.stop),
        notes=(*recording.notes, *_notes(recording, protocol, found)),
        pairs=(*returns, *elsewhere),
    )


def _compared(recording: Recording, protocol: Protocol, stop: int) -> _Compared:
    """Revisits and controls of the whole script, as far as there are frames."""
    c2w = recording.c2w
    if len(c2w) > MAX_SEARCHED_FRAMES:
        return _Compared(searched=False)
    pairs = revisit_pairs(
        c2w,
        max_distance=protocol.max_distance,
        min_gap_frames=protocol.min_gap_frames,
        max_pairs=protocol.max_pairs,
        given_frames=recording.given_frames,
    )
    couples = matched_couples(c2w, pairs, given_frames=recording.given_frames, seed=protocol.seed)
    return _Compared(
        [pair for pair in pairs if pair.later < stop],
        [couple for couple in couples if max(each.later for each in couple) < stop],
    )


def _gap_off(couples: Sequence[tuple[FramePair, FramePair]]) -> float | None:
    """By how many frames the gaps of controls differ from those of their pairs, on average."""
    offs = [abs(pair.gap_frames - control.gap_frames) for pair, control in couples]
    return float(np.mean(offs)) if offs else None


def _start_sharpness(footage: Footage, pairs: Sequence[FramePair]) -> float | None:
    """Gradient energy of the returning frames over the first frame's, which was given or made first."""
    if not pairs:
        return None
    first = footage.frames[0]
    return float(np.mean([sharpness(footage.frames[pair.later], first) for pair in pairs]))


def _raw(recording: Recording, protocol: Protocol, revisit: PairMeans | None) -> RawFidelity | None:
    """What the run measured of the same pairs before its frames were compressed."""
    logged = recording.log.fidelity
    if logged is None or revisit is None or not protocol.is_default:
        return None
    if logged.pairs != revisit.pairs:
        return None
    return RawFidelity(psnr_db=logged.psnr_db, compression_db=revisit.psnr_db - logged.psnr_db)


def _notes(recording: Recording, protocol: Protocol, found: _Compared) -> Iterator[str]:
    if recording.config.model == "mini" and recording.enlargement == 1:
        yield "frames in their own size lose half of their colours' resolution in the MP4: 31 dB are left"
    pairs, couples = len(found.pairs), len(found.couples)
    if not found.searched:
        yield f"revisits are searched in paths of up to {MAX_SEARCHED_FRAMES:,} frames, this one is longer"
    elif not pairs:
        yield (
            f"the camera never returns: no frame comes within {protocol.max_distance:g} of an earlier one, "
            f"{protocol.min_gap_frames} frames or more before"
        )
    elif not couples:
        yield "the camera never looks elsewhere: there is no control, and so no gain"
    elif couples < pairs:
        yield f"{pairs - couples} of {pairs} revisits have no control in the video: the gain is of the others"
