"""The contents of profile.json, version 1; `profile.schema.json` is made from them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.schemas.run import Device

Status = Literal["done", "interrupted"]
Count = Annotated[int, Field(ge=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Record(BaseModel):
    """Frozen, and strict about keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Quartiles(_Record):
    """A median and the quartiles around it."""

    median: Finite
    low: Finite = Field(description="A quarter of the values is below.")
    high: Finite = Field(description="A quarter of the values is above.")
    count: Annotated[int, Field(ge=1)] = Field(description="Values.")


class ChunkTimes(_Record):
    """One chunk of one rollout."""

    repeat: Count
    chunk: Count
    warm_up: bool = Field(description="One of the first that ran: kernels are chosen, memory is taken.")
    window_tokens: Count = Field(description="Keys that it attended to, its own included.")
    retrieve_ms: Amount = Field(description="Bank to window.")
    denoise_ms: Amount = Field(description="The sampler's passes, and what is made ready for them.")
    commit_ms: Amount = Field(description="Clean pass, pruning and storing in the bank.")
    decode_ms: Amount | None = Field(description="Latents to frames; None where that was left out.")
    stall_ms: Amount = Field(description="Of these, waiting for the bank.")
    cpu_ms: Amount = Field(description="Processor time of all threads, decoding left out.")
    kv_bytes: Count = Field(description="Keys and values in window and bank that are in use.")
    device_bytes: Count = Field(description="Peak on the device; on the CPU the engine's own tensors.")
    host_bytes: Count = Field(description="Resident host memory of the process, all modes together.")

    @property
    def chunk_ms(self) -> float:
        """Retrieving, denoising and committing: what depends on the memory."""
        return self.retrieve_ms + self.denoise_ms + self.commit_ms


class LengthTimes(_Record):
    """A rollout's chunks just before a length, over all repeats."""

    chunks: Count = Field(description="Rollout length in chunks.")
    window_tokens: Count = Field(description="Keys that the last of these chunks attended to.")
    kv_bytes: Count = Field(description="Most keys and values in window and bank in use by then.")
    stages_ms: dict[str, Quartiles]
    chunk_ms: Quartiles = Field(description="Retrieving, denoising and committing together.")
    cpu_ms: Quartiles = Field(description="Processor time of the same.")


class Roofline(_Record):
    """What a chunk at the last length needs, against what the hardware can do."""

    flops: Count = Field(description="Operations of linear layers and attention, all passes.")
    attention_flops: Count
    read_bytes: Count = Field(description="Weights, keys and values, read once in every pass.")
    moved_bytes: Count = Field(description="Read from the bank and stored in it.")
    least_ms: Amount = Field(description="At the measured rates of products and copies, all overlapping.")
    measured_ms: Amount
    share: Amount = Field(description="least_ms over measured_ms.")


class Operation(_Record):
    """A kind of work that is neither a product nor attention."""

    name: str
    ms: Amount
    share: Amount = Field(description="Of the chunk's time under the profiler.")
    calls: Count


class Overhead(_Record):
    """Where one chunk's time goes, under torch's profiler, which itself slows small operations down."""

    chunk: Count
    chunk_ms: Amount
    product_ms: Amount = Field(description="Matrix products, those of unfused attention among them.")
    attention_ms: Amount = Field(description="Fused attention, and softmax.")
    between_ms: Amount = Field(description="No operation ran: Python, and waiting.")
    outside_share: Amount = Field(description="Share of the time outside of products and attention.")
    largest: tuple[Operation, ...] = Field(description="The three largest items of it.")


class CellProfile(_Record):
    """One memory mode under one budget."""

    mode: str
    budget_bytes: Count | None = Field(description="Of device memory; None for what is free.")
    refused: str | None = Field(default=None, description="Why it does not fit; then nothing was run.")
    turns: tuple[str, ...] = Field(default=(), description="What was turned to make it fit.")
    window_tokens: Count = Field(default=0, description="Token slots of the window.")
    window_bytes: Count = 0
    bank_bytes: Count = 0
    predicted_bytes: Count = Field(default=0, description="Of the device, by the plan.")
    peak_bytes: Count | None = Field(
        default=None, description="Measured on the device; None where modes shared it or it is the CPU."
    )
    warm_up_ms: Quartiles | None = Field(default=None, description="Of the first chunks, all stages.")
    lengths: tuple[LengthTimes, ...] = ()
    roofline: Roofline | None = None
    overhead: Overhead | None = None
    chunks: tuple[ChunkTimes, ...] = ()


class Ratio(_Record):
    """A paired ratio of chunk times."""

    of: str = Field(description='For example "worldkv".')
    to: str = Field(description='For example "full", or "chunk 10".')
    budget_bytes: Count | None
    chunks: Count = Field(description="Rollout length at which both were measured.")
    value: Quartiles
    cpu: Quartiles = Field(description="The same of processor time.")


class Hardware(_Record):
    """What the machine can do at best, measured."""

    flops_per_s: Amount
    copy_bytes_per_s: Amount
    to_device_bytes_per_s: Amount | None = None
    to_host_bytes_per_s: Amount | None = None


class Writing(_Record):
    """What writing the video takes, apart from everything else."""

    frame_ms: Amount = Field(description="Enlarging a video frame and handing it over.")
    chunk_ms: Amount = Field(description="The same of all frames of a chunk.")
    encoded_frame_ms: Amount = Field(
        description="Until it is in the file; goes on beside the rollout, in other processes."
    )
    fixed_ms: Amount = Field(description="Starting and finishing the file.")
    width: Count
    height: Count


class Fit(_Record):
    """How well the calibration foretells chunks that it was not made of."""

    fitted_chunks: Count
    held_out_chunks: Count
    median_error: Amount = Field(description="Relative, of the time of a chunk without decoding.")
    largest_error: Amount


class Network(_Record):
    """What ran."""

    num_parameters: Count
    num_layers: Count
    dim: Count
    num_heads: Count
    tokens_per_frame: Count
    chunk_frames: Count
    passes: Count = Field(description="Denoising passes of a chunk; the clean one comes on top.")
    frame_size: tuple[int, int] = Field(description="Width and height in pixels.")


class ProfileReport(_Record):
    """profile.json."""

    schema_version: Literal[1] = 1
    status: Status
    started_at: datetime
    finished_at: datetime
    model: str
    random_weights: bool
    scale: Annotated[float, Field(gt=0, le=1)]
    trajectory: str
    config: dict[str, Any] = Field(description="What was asked for, every key.")
    versions: dict[str, str]
    device: Device
    dtype: str
    network: Network | None = Field(description="None if it ended before anything was loaded.")
    interleaving: Literal["chunk", "run"] = Field(
        description="Whether modes took turns after every chunk or after every rollout."
    )
    one_layer: bool = Field(
        description="Whether all layers shared one layer's keys and values, for want of memory."
    )
    every_chunk: bool = Field(description="Whether no chunk was jumped over.")
    load_average: tuple[float | None, float | None] = Field(description="Before and after.")
    hardware: Hardware | None
    load_s: dict[str, Amount] = Field(description="Seconds by what was loaded or encoded, first placement.")
    writing: Writing | None
    ratios: tuple[Ratio, ...]
    cells: tuple[CellProfile, ...]
    fit: Fit | None = Field(description="Of the calibration; None if there were too few chunks.")
    notes: tuple[str, ...] = ()
