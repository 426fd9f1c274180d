"""What `worldkv plan --json` says, version 1; `forecast.schema.json` is made from it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from core.schemas.run import Count, Share, TierBytes

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
OfParts = Annotated[dict[str, Count], Field(description="Bytes by purpose.")]


class _Part(BaseModel):
    """Frozen, and strict about keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Target(_Part):
    """For which machine is planned."""

    device: str
    hardware: str | None = Field(description="Its name; None for a device that is not here.")
    there: bool = Field(description="Whether it is in this machine.")
    dtype: str = Field(description="Of weights, keys and values.")


class Video(_Part):
    """What would be generated."""

    frames: Count = Field(description="Video frames, a prefix included.")
    changed_frames: int = Field(description="Cut to fill whole chunks (below 0), or added (above).")
    fps: Amount
    seconds: Amount
    width: Count
    height: Count
    chunks: Count
    chunk_frames: Count = Field(description="Latent frames of a chunk.")
    tokens_per_frame: Count = Field(description="Tokens of a latent frame.")


class Spread(_Part):
    """Order statistics; all 0 where there is nothing to count."""

    least: Amount
    median: Amount
    most: Amount


class Distances(_Part):
    """Retrieved chunks that lie so far back."""

    from_chunks: Count = Field(description="Chunks back, at least.")
    to_chunks: Count = Field(description="At most.")
    retrieved: Count = Field(description="How many, over the whole rollout.")


class Retrieval(_Part):
    """The schedule in numbers. Whether two views overlap is measured on points sampled in their frustums."""

    strategy: str | None = Field(description="None if nothing is retrieved.")
    retrieving_chunks: Count = Field(description="Chunks that retrieve anything.")
    tokens_per_chunk: Spread = Field(description="Retrieved tokens of such a chunk.")
    chunks_per_chunk: Spread = Field(description="Past chunks that they come from.")
    distance_chunks: Spread = Field(description="How far back retrieved chunks lie.")
    distance_s: Spread = Field(description="The same in seconds of video.")
    distances: tuple[Distances, ...] = Field(description="The same in classes, each twice as wide.")
    revisiting_chunks: Count = Field(description="Chunks whose view was seen before, outside the window.")
    recalled_chunks: Count = Field(description="Those of them that retrieve a chunk that saw it.")
    recall: Share | None = Field(description="Share of the chunks that saw the view that are retrieved.")
    precision: Share | None = Field(description="Share of the retrieved chunks that saw the view.")


class BankMoment(_Part):
    """The bank at its fullest in some chunks of the rollout."""

    chunk: Count = Field(description="The last of these chunks.")
    device: Count = Field(description="Bytes.")
    host: Count
    disk: Count


class BankForecast(_Part):
    """Stored keys and values."""

    precision: str
    token_bytes: Count = Field(description="Of a stored token, over all layers.")
    total_bytes: Count = Field(description="Of all tiers.")
    tiers: TierBytes = Field(description="Room that each tier takes.")
    stored_share: Share = Field(description="Tokens that are ever stored, of all.")
    everything_bytes: Count = Field(description="Had every key and value been kept.")
    read: TierBytes = Field(description="Read in the whole rollout.")
    written: TierBytes = Field(description="Stored or moved there in the whole rollout.")
    most_read_per_chunk: TierBytes
    moments: tuple[BankMoment, ...]


class Peak(_Part):
    """Predicted memory of one kind against its budget."""

    predicted_bytes: Count = Field(description="Without the reserve.")
    reserve_bytes: Count = Field(description="Kept free for the driver, workspaces and gaps between tensors.")
    budget_bytes: Count | None = Field(description="None for no limit.")
    budget_source: str | None = Field(description="What set it.")
    parts: OfParts = Field(description="What stays while the rollout runs.")
    transient_parts: OfParts = Field(description="What comes and goes, never two at once.")
    loading_parts: OfParts = Field(description="Before the rollout, never two at once, without the others.")

    @property
    def short_bytes(self) -> int:
        """What is missing."""
        needed = self.predicted_bytes + self.reserve_bytes
        return 0 if self.budget_bytes is None else max(0, needed - self.budget_bytes)


class Memory(_Part):
    """Predicted peaks, and shapes that they follow from."""

    device: Peak
    host: Peak
    disk: Peak
    parameter_bytes: Count = Field(description="Of the network in the dtype that it computes in.")
    kv_bytes_per_token_layer: Count = Field(description="Of a key and a value in the window.")
    num_layers: Count
    window_tokens: Count = Field(description="Slots of the window in one layer.")
    window_bytes: Count = Field(description="Over all layers.")


class Times(_Part):
    """Predicted seconds, from what `worldkv profile` measured on this machine."""

    load_s: Amount
    encode_s: Amount
    retrieve_s: Amount
    denoise_s: Amount
    commit_s: Amount
    decode_s: Amount
    write_s: Amount
    total_s: Amount
    fps: Amount
    how: str = Field(description="What the figures were fitted to, and how far they are off.")
    notes: tuple[str, ...]


class Way(_Part):
    """A change of the command that was planned and fits."""

    flags: str = Field(description="As they are written on the command line.")
    costs: str = Field(description="What it costs; empty if nothing of the pictures.")


class Rollout(_Part):
    """The largest rollout along this trajectory that fits as asked."""

    chunks: Count
    frames: Count
    seconds: Amount


class Refusal(_Part):
    """Why it does not fit, and what would."""

    problem: str
    where: str = Field(description="The flag or device that sets the budget.")
    short_of: str = Field(description="device, host or disk.")
    short_bytes: Count
    largest: Rollout | None = Field(description="None if not even one chunk fits.")
    ways: tuple[Way, ...] = Field(description="The one that costs least first.")


class Forecast(_Part):
    """A rollout as it will be."""

    schema_version: int = Field(default=1, ge=1, le=1)
    fits: bool
    model: str
    trajectory: str
    memory_mode: str
    target: Target
    video: Video
    retrieval: Retrieval
    bank: BankForecast
    memory: Memory = Field(description="If it does not fit, of the placement that comes nearest.")
    turned: tuple[str, ...] = Field(description="What was turned so that it fits.")
    times: Times | None = Field(description="None without a profile of this machine.")
    refusal: Refusal | None
    notes: tuple[str, ...]
