"""The contents of run.json and chunks.jsonl, version 1; `run.schema.json` is made from them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field, model_validator

Status = Literal["running", "done", "interrupted", "failed"]
"""`running` in a finished process means that it was killed: chunks.jsonl then has the records."""

Count = Annotated[int, Field(ge=0)]
Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Record(BaseModel):
    """Frozen, and strict about keys. Derived figures are written but never read back."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _drop_derived(cls, data: Any) -> Any:  # noqa: ANN401 - whatever the file holds
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if key not in cls.model_computed_fields}


class RetrievedChunk(_Record):
    """A past chunk that was put back into the window."""

    chunk: Count
    tokens: Count = Field(description="Tokens of it in the window, per layer.")
    tier: Literal["window", "device", "host", "disk"] = Field(
        description="Where its keys and values were before: in the window, or the slowest tier of the bank."
    )
    score: float | None = Field(default=None, description="The strategy's distance; lower is better.")
    overlap: Share | None = Field(default=None, description="Share of the coming chunk's view that it sees.")


class StageMs(_Record):
    """Milliseconds of each stage of a chunk."""

    retrieve: Milliseconds = Field(default=0.0, description="Bank to window.")
    denoise: Milliseconds = Field(default=0.0, description="The sampler's steps.")
    commit: Milliseconds = Field(default=0.0, description="Clean pass, pruning and storing in the bank.")
    decode: Milliseconds = Field(default=0.0, description="Latents to frames.")
    write: Milliseconds = Field(default=0.0, description="Frames to the MP4, log and snapshot.")


class TierBytes(_Record):
    """Bytes by tier of the bank."""

    device: Count = 0
    host: Count = 0
    disk: Count = 0

    @property
    def total(self) -> int:
        """Bytes over all tiers."""
        return self.device + self.host + self.disk


class ChunkRecord(_Record):
    """What happened in one chunk."""

    chunk: Count
    first_frame: Count = Field(description="Its first video frame.")
    num_frames: Annotated[int, Field(ge=1)] = Field(description="Its video frames.")
    given: bool = Field(default=False, description="Its latents were given (a prefix), not generated.")
    warm_up: bool = Field(default=False, description="One of the first generated chunks.")
    retrieved: tuple[RetrievedChunk, ...] = ()
    hits: Count = Field(default=0, description="Past chunks that overlap the view and are in the window.")
    misses: Count = Field(
        default=0, description="Past chunks that overlap the view and are not in the window."
    )
    idle: Count = Field(default=0, description="Retrieved chunks that do not overlap the view.")
    tokens_kept: Count = Field(default=0, description="Tokens of this chunk stored in the bank, per layer.")
    tokens_dropped: Count = Field(default=0, description="Tokens of this chunk not stored, per layer.")
    window_tokens: Count = Field(default=0, description="Keys that the chunk attended to, its own included.")
    ms: StageMs = StageMs()
    stall_ms: Milliseconds = Field(default=0.0, description="Of all stages, spent waiting for the bank.")
    wall_ms: Milliseconds = Field(default=0.0, description="End to end, from the previous chunk's end.")
    bank_chunks: Count = Field(default=0, description="Chunks in the bank afterwards.")
    bank_bytes: TierBytes = Field(default=TierBytes(), description="In the bank afterwards.")
    read_bytes: TierBytes = Field(default=TierBytes(), description="Read from the bank for this chunk.")
    device_bytes: Count = Field(default=0, description="Device memory of the process, peak of the chunk.")
    host_bytes: Count = Field(
        default=0, description="Resident host memory of the process, at the chunk's end."
    )

    @computed_field(description="Video frames per second, end to end.")  # type: ignore[prop-decorator]
    @property
    def fps(self) -> float | None:
        """Video frames per second, end to end; None if no time was measured."""
        return _rate(self.num_frames, self.wall_ms)

    @computed_field(description="Video frames per second of denoising alone.")  # type: ignore[prop-decorator]
    @property
    def denoise_fps(self) -> float | None:
        """Video frames per second of denoising alone; None if no time was measured."""
        return _rate(self.num_frames, self.ms.denoise)


class Totals(_Record):
    """Sums over all chunks; rates and means over the timed ones: generated, and after the warm-up."""

    chunks: Count = 0
    frames: Count = Field(default=0, description="Video frames.")
    wall_s: float = Field(default=0.0, ge=0)
    given_chunks: Count = 0
    warm_up_chunks: Count = 0
    warm_up_s: float = Field(default=0.0, ge=0)
    timed_chunks: Count = 0
    timed_frames: Count = 0
    timed_s: float = Field(default=0.0, ge=0)
    mean_ms: StageMs = Field(default=StageMs(), description="Mean of each stage over the timed chunks.")
    retrieved: Count = Field(
        default=0, description="Chunks retrieved, counted once for every chunk that got them."
    )
    hits: Count = 0
    misses: Count = 0
    idle: Count = 0
    tokens_kept: Count = 0
    tokens_dropped: Count = 0
    max_window_tokens: Count = 0
    peak_bank_bytes: Count = 0
    peak_device_bytes: Count = 0
    peak_host_bytes: Count = 0

    @computed_field(description="Video frames per second, end to end.")  # type: ignore[prop-decorator]
    @property
    def fps(self) -> float | None:
        """Video frames per second end to end; None if no chunk was timed."""
        return _rate(self.timed_frames, 1e3 * self.timed_s)

    @computed_field(description="Video frames per second of denoising alone.")  # type: ignore[prop-decorator]
    @property
    def denoise_fps(self) -> float | None:
        """Video frames per second of denoising alone; None if no chunk was timed."""
        return _rate(self.timed_frames, self.timed_chunks * self.mean_ms.denoise)

    @computed_field(description="Share of the retrieved chunks that overlap the view.")  # type: ignore[prop-decorator]
    @property
    def precision(self) -> float | None:
        """Share of the retrieved chunks that overlap the view; None if nothing was retrieved."""
        return (self.retrieved - self.idle) / self.retrieved if self.retrieved else None

    @computed_field(description="Share of the overlapping past chunks that were in the window.")  # type: ignore[prop-decorator]
    @property
    def recall(self) -> float | None:
        """Share of the overlapping past chunks that were in the window; None if none overlapped."""
        overlapping = self.hits + self.misses
        return self.hits / overlapping if overlapping else None

    @computed_field(description="Share of the tokens that were stored.")  # type: ignore[prop-decorator]
    @property
    def kept_share(self) -> float | None:
        """Share of the tokens that were stored; None if there were none."""
        tokens = self.tokens_kept + self.tokens_dropped
        return self.tokens_kept / tokens if tokens else None


class InputFile(_Record):
    """A file that went into the run."""

    path: str
    sha256: str
    size_bytes: Count


class Device(_Record):
    """What it ran on."""

    name: str = Field(description='For example "cpu" or "cuda:0".')
    model: str = Field(default="", description="The hardware's own name.")
    total_bytes: Count | None = None
    threads: Count | None = Field(default=None, description="Threads of the CPU that torch used.")


class VideoFile(_Record):
    """The video that came out."""

    path: str = Field(description="Relative to run.json.")
    width: Count
    height: Count
    fps: float = Field(gt=0)
    num_frames: Count
    codec: str
    pix_fmt: str
    size_bytes: Count


class Fidelity(_Record):
    """How alike a place looks when the camera comes back, and how alike two other places look."""

    pairs: Count = Field(description="Revisits compared, at most 64.")
    psnr_db: float = Field(description="Revisit against first visit.")
    ssim: float
    sharpness: float = Field(description="Gradient energy of the revisit over the first visit's.")
    control_psnr_db: float | None = Field(
        default=None, description="The same between views of other places, at the same gaps in time."
    )
    control_ssim: float | None = None
    motion: float = Field(description="Mean absolute change from frame to frame, grey levels of 255.")


class Failure(_Record):
    """Why a run failed, as it was told to the user."""

    problem: str
    where: str = ""
    hint: str = ""


class RunSummary(_Record):
    """All of run.json but the chunk records."""

    schema_version: Literal[1] = 1
    name: str
    status: Status
    started_at: datetime
    finished_at: datetime | None = None
    seed: int
    config: dict[str, Any] = Field(description="The resolved configuration, every key.")
    config_sources: dict[str, str] = Field(
        default={}, description="Where each key that is no default came from."
    )
    inputs: dict[str, InputFile] = Field(default={}, description="Hashes of the files that went in.")
    trajectory_sha256: str = Field(default="", description="Hash of the trajectory's text.")
    versions: dict[str, str] = {}
    device: Device | None = None
    dtype: str = ""
    plan: dict[str, Any] = Field(default={}, description="The memory plan's own summary.")
    video: VideoFile | None = None
    failure: Failure | None = None
    fidelity: Fidelity | None = Field(default=None, description="None if the camera never came back.")
    totals: Totals = Totals()


class RunLog(RunSummary):
    """run.json."""

    chunks: tuple[ChunkRecord, ...] = ()


def _rate(frames: int, ms: float) -> float | None:
    return 1e3 * frames / ms if frames > 0 and ms > 0 else None
