"""Every metric of every pair of frames, and their means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from jaxtyping import Float64
from torch import Tensor

from core.evaluation.codecs import Encode, latent_distance
from core.evaluation.footage import Frame
from core.fidelity.pairs import FramePair, view_distance
from core.fidelity.perceptual import Lpips
from core.fidelity.pictures import CODED_MSE, psnr, sharpness, ssim
from core.fidelity.shifts import shifted_psnr
from core.schemas.eval import Gain, PairMeans, PairRecord

Kind = Literal["revisit", "control"]
_DISTANCES: Final = ("latent_distance", "lpips")  # the lower the better


@dataclass(frozen=True, eq=False)
class Metrics:
    """What pairs are compared by, beside plain pictures.

    Attributes:
        encode: The model's codec; None where it is not at hand.
        lpips: None where its weights are not.
    """

    encode: Encode | None = None
    lpips: Lpips | None = None


def compare_frames(
    frames: Mapping[int, Frame],
    pairs: Sequence[FramePair],
    *,
    kind: Kind,
    c2w: Float64[np.ndarray, "frames 4 4"],
    metrics: Metrics,
    truth: Mapping[int, float],
) -> list[PairRecord]:
    """Compare pairs of frames of a coded video: errors below what the code leaves count as equal to that.

    Args:
        frames: Frame number to frame; all of the pairs are there.
        pairs: Which are compared.
        kind: "revisit" or "control".
        c2w: Cameras of all video frames.
        metrics: What they are compared by.
        truth: PSNR against the true world, of the frames where that is known.
    """
    latents = {} if metrics.encode is None else _latents(frames, pairs, metrics.encode)
    records = []
    for pair in pairs:
        later, earlier = frames[pair.later], frames[pair.earlier]
        shifted = shifted_psnr(later, earlier, least_mse=CODED_MSE)
        distance = view_distance(c2w[pair.later][None], c2w[pair.earlier][None])[0]
        records.append(
            PairRecord.model_validate(
                {
                    "kind": kind,
                    "later": pair.later,
                    "earlier": pair.earlier,
                    "gap_frames": pair.gap_frames,
                    "distance": float(distance),
                    "psnr_db": psnr(later, earlier, least_mse=CODED_MSE),
                    "ssim": ssim(later, earlier),
                    "sharpness": sharpness(later, earlier),
                    "shifted_psnr_db": shifted.psnr_db,
                    "shift_px": (shifted.right_px, shifted.down_px),
                    "latent_distance": latent_distance(latents[pair.later], latents[pair.earlier])
                    if latents
                    else None,
                    "lpips": None if metrics.lpips is None else metrics.lpips.distance(later, earlier),
                    "truth_psnr_db": truth.get(pair.later) if kind == "revisit" else None,
                }
            )
        )
    return records


def _latents(frames: Mapping[int, Frame], pairs: Sequence[FramePair], encode: Encode) -> dict[int, Tensor]:
    """Latents of all frames of the pairs, each encoded once."""
    return {f: encode(frames[f]) for f in sorted({f for p in pairs for f in (p.later, p.earlier)})}


def means_of(records: Sequence[PairRecord]) -> PairMeans | None:
    """Means over pairs; None where there are none."""
    if not records:
        return None

    def mean(name: str) -> float | None:
        values = [getattr(each, name) for each in records]
        return None if None in values else float(np.mean(values))

    names = [name for name in PairMeans.model_fields if name != "pairs"]
    return PairMeans.model_validate({"pairs": len(records), **{name: mean(name) for name in names}})


def gain_of(revisit: PairMeans | None, control: PairMeans | None) -> Gain | None:
    """How much better revisits match than other places do; of distances, how much nearer they are."""
    if revisit is None or control is None:
        return None
    gains: dict[str, float | None] = {}
    for name in Gain.model_fields:
        here, elsewhere = getattr(revisit, name), getattr(control, name)
        if here is None or elsewhere is None:
            gains[name] = None
        else:
            gains[name] = elsewhere - here if name in _DISTANCES else here - elsewhere
    return Gain.model_validate(gains)
