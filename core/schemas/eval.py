"""What `worldkv eval --json` says, version 1; `eval.schema.json` is made from it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Record(BaseModel):
    """Frozen, and strict about keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ProtocolRecord(_Record):
    """Which frames were compared."""

    max_distance: Finite = Field(
        description="Largest |translation| + angle / pi of a revisit: trajectory units plus half turns."
    )
    min_gap_frames: Count = Field(description="Least video frames between the two.")
    max_pairs: Count = Field(description="Most pairs of a rollout.")
    control_distance: Finite = Field(description="Least distance of a control pair.")
    seed: Count = Field(description="Chooses the control pairs.")


class PairRecord(_Record):
    """Two frames of one rollout."""

    kind: Literal["revisit", "control"] = Field(
        description="The same place again, or another place at the same gap."
    )
    later: Count = Field(description="Video frame.")
    earlier: Count = Field(description="The video frame that it is compared with: the earliest visit.")
    gap_frames: Count
    distance: Finite = Field(description="|translation| + angle / pi between the two cameras.")
    psnr_db: Finite
    ssim: Finite
    sharpness: Finite = Field(description="Gradient energy of the later frame over the earlier's.")
    shifted_psnr_db: Finite = Field(description="PSNR at the best whole shift, over what overlaps.")
    shift_px: tuple[int, int] = Field(description="That shift: to the right, down.")
    latent_distance: Finite | None = Field(
        default=None, description="Root mean square difference in the model's latent space."
    )
    lpips: Finite | None = None
    truth_psnr_db: Finite | None = Field(default=None, description="The later frame against the true world.")


class PairMeans(_Record):
    """Means over pairs."""

    pairs: Count
    psnr_db: Finite
    ssim: Finite
    sharpness: Finite
    shifted_psnr_db: Finite
    latent_distance: Finite | None = None
    lpips: Finite | None = None


class Gain(_Record):
    """How much better a revisit matches than another place does; above 0 is better, in every metric."""

    psnr_db: Finite
    ssim: Finite
    shifted_psnr_db: Finite
    latent_distance: Finite | None = Field(default=None, description="Control less revisit.")
    lpips: Finite | None = Field(default=None, description="Control less revisit.")


class RawFidelity(_Record):
    """What the run itself measured, before the video was compressed."""

    psnr_db: Finite
    compression_db: Finite = Field(description="Figure of the video less that of the raw frames.")


class TruthScore(_Record):
    """Against the true world, in PSNR."""

    revisit_psnr_db: Finite | None = Field(description="Generated frames that return somewhere.")
    given_psnr_db: Finite | None = Field(
        description="Generated frames whose view had been given; None where no clip was."
    )
    given_views: Count = Field(description="How many of these there are.")
    early_psnr_db: Finite | None = Field(description="The first three frames after a given picture.")
    sharpness: Finite | None = Field(description="Gradient energy of the returning frames over the truth's.")


class RetrievalScore(_Record):
    """Whether what was retrieved shows what the coming chunk sees."""

    basis: Literal["depth", "sampled"] = Field(
        description="True surfaces, with what hides what; or points sampled in the views, by the run itself."
    )
    hit_overlap: Share = Field(description="Share of the view that a past chunk must see to count.")
    chunks: Count = Field(description="Coming chunks that were judged.")
    hits: Count
    misses: Count
    idle: Count
    precision: Share | None = Field(description="Share of the retrieved chunks that see the coming view.")
    recall: Share | None = Field(description="Share of the past chunks seeing it that were in the window.")
    token_precision: Share | None = Field(
        default=None, description="Share of the retrieved tokens whose middle the coming chunk sees."
    )
    token_recall: Share | None = Field(
        default=None,
        description="Share of the coming view, as far as chunks out of the window saw it, in those.",
    )


class RunScore(_Record):
    """One rollout."""

    folder: str
    group: str = Field(description="What it was set to, in as few words as tell the groups apart.")
    rollout: str = Field(description="Same trajectory, beginning and seeds: same word.")
    model: str
    trajectory: str
    seed: Count
    world_seed: Count
    memory: str
    status: str
    frames: Count = Field(description="Video frames that were compared.")
    fps: Finite
    gain: Gain | None = Field(
        description="Of the revisits that have a control. None where the camera never returns, or never "
        "looks elsewhere."
    )
    revisit: PairMeans | None = Field(description="Of all revisits, also those without a control.")
    control: PairMeans | None
    control_gap_off_frames: Finite | None = Field(
        description="By how many frames gaps of controls differ from their pairs', on average."
    )
    motion: Finite = Field(description="Mean absolute change from frame to frame, grey levels of 255.")
    start_sharpness: Finite | None = Field(
        description="Gradient energy of the returning frames over the first frame's."
    )
    raw: RawFidelity | None = Field(description="None where run.json has other pairs or none.")
    truth: TruthScore | None
    no_truth: str = Field(description="Why there is none.")
    retrieval: RetrievalScore | None
    notes: tuple[str, ...] = ()
    pairs: tuple[PairRecord, ...]


class Estimate(_Record):
    """A mean over rollouts."""

    mean: Finite
    low: Finite | None = Field(description="End of the 95% interval; None for a single rollout.")
    high: Finite | None
    rollouts: Annotated[int, Field(ge=1)]


class GroupScore(_Record):
    """Rollouts of the same settings."""

    group: str
    settings: dict[str, Any] = Field(description="Settings in which groups differ.")
    rollouts: Count
    estimates: dict[str, Estimate]


class Difference(_Record):
    """One group less another, over the rollouts that both have."""

    group: str
    baseline: str
    rollouts: Count
    estimates: dict[str, Estimate]


class Baseline(_Record):
    """A run that was made, or found, to compare with."""

    of: str
    memory: str
    folder: str
    made: bool = Field(description="Whether it was made now.")


class EvalReport(_Record):
    """The answer of `worldkv eval`."""

    schema_version: Literal[1] = 1
    protocol: ProtocolRecord
    missing: dict[str, str] = Field(description="Metrics that were not taken, and why.")
    baselines: tuple[Baseline, ...]
    runs: tuple[RunScore, ...]
    groups: tuple[GroupScore, ...]
    differences: tuple[Difference, ...] = Field(description="The first run's group less every other one.")
    notes: tuple[str, ...]
