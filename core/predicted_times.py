"""Seconds of a planned rollout, from what a profile learned about the machine; no torch is imported."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from core.calibration import Calibration, age, version_of
from core.memory.plan import MemoryPlan


@dataclass(frozen=True, kw_only=True)
class StagePrediction:
    """Predicted seconds of a rollout.

    Attributes:
        load_s: Loading weights.
        encode_s: Encoding prompt and first picture.
        retrieve_s: Bank to window, all chunks.
        denoise_s: The sampler's passes.
        commit_s: Clean passes and storing.
        decode_s: Latents to frames.
        write_s: Enlarging frames and handing them over, and finishing the video.
        total_s: From start to end, Python's own start left out; encoding the video goes on beside it: on a
            GPU it counts where it is slower, on a CPU it takes cores from the rollout.
        fps: Video frames a second from the first chunk on.
        num_frames: Video frames.
        last_chunk_s: The last chunk's retrieving, denoising and committing.
        how: How the rates were fitted.
        error: Relative error on chunks that were held out from the fit: median and largest.
        notes: Why it may be further off than that.
    """

    load_s: float
    encode_s: float
    retrieve_s: float
    denoise_s: float
    commit_s: float
    decode_s: float
    write_s: float
    total_s: float
    fps: float
    num_frames: int
    last_chunk_s: float
    how: str
    error: tuple[float, float]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ChunkPrediction:
    """Predicted seconds of one chunk."""

    retrieve_s: float
    denoise_s: float
    commit_s: float

    @property
    def total_s(self) -> float:
        """All three."""
        return self.retrieve_s + self.denoise_s + self.commit_s


def read_bytes(plan: MemoryPlan, chunk: int) -> dict[str, int]:
    """Bytes that a chunk reads from every tier of the bank from which it reads any."""
    found = Counter[str]()
    for part in plan.residency.steps[chunk].reads:
        found[part.tier] += part.slots.count * plan.bank_token_bytes
    return {tier: size for tier, size in found.items() if size}


def stored_bytes(plan: MemoryPlan, chunk: int) -> int:
    """Bytes that a chunk stores in the bank."""
    return plan.steps[chunk].num_stored * plan.bank_token_bytes


def predict_chunk(
    calibration: Calibration, plan: MemoryPlan, chunk: int, *, passes: int, clean_pass: bool = True
) -> ChunkPrediction:
    """Seconds of one chunk.

    Args:
        calibration: Of the machine.
        plan: Of the rollout.
        chunk: Which.
        passes: Denoising passes of a chunk; the clean one comes on top.
        clean_pass: Whether there is a clean one: not if the last denoising pass commits.
    """
    step, shape, layout = plan.steps[chunk], plan.footprint, plan.layout
    tokens, keys = layout.tokens_per_chunk, plan.visible_tokens(step)
    width = shape.num_layers * shape.num_heads * shape.head_dim
    one_pass = (
        calibration.pass_overhead_ms / 1e3
        + tokens * calibration.token_flops / calibration.token_flops_per_s
        + 4 * tokens * keys * width / calibration.attention_flops_per_s
    )
    rates = calibration.read_s_per_byte
    slowest = max(rates.values(), default=0.0)  # what was not measured is a guess, which the notes say
    reading_s = sum(size * rates.get(tier, slowest) for tier, size in read_bytes(plan, chunk).items())
    return ChunkPrediction(
        retrieve_s=calibration.retrieve_fixed_ms / 1e3 + reading_s,
        denoise_s=calibration.prepare_ms_per_token * tokens / 1e3 + passes * one_pass,
        commit_s=one_pass * clean_pass + stored_bytes(plan, chunk) * calibration.store_s_per_byte,
    )


def predict_times(
    calibration: Calibration,
    plan: MemoryPlan,
    *,
    frame_size: tuple[int, int],
    passes: int,
    clean_pass: bool = True,
    turns: tuple[str, ...] | None = None,
) -> StagePrediction:
    """Seconds of a whole rollout, stage by stage.

    Args:
        calibration: Of the machine.
        plan: Of the rollout.
        frame_size: Width and height of the video in pixels, before it is enlarged for display.
        passes: Denoising passes of a chunk; the clean one comes on top.
        clean_pass: Whether there is a clean one.
        turns: What is turned to make it fit; None if that is not known.
    """
    chunks = [
        predict_chunk(calibration, plan, chunk, passes=passes, clean_pass=clean_pass)
        for chunk in range(len(plan.steps))
    ]
    num_frames = 1 + (plan.layout.num_frames - 1) * calibration.video_stride
    megapixels = num_frames * frame_size[0] * frame_size[1] / 1e6
    decode_s = megapixels * calibration.decode_ms_per_megapixel / 1e3
    enlarged = megapixels * calibration.display_scale**2
    written = enlarged * calibration.write_ms_per_megapixel / 1e3
    encoded = enlarged * calibration.encode_ms_per_megapixel / 1e3
    retrieve_s, denoise_s, commit_s = (
        sum(getattr(chunk, name) for chunk in chunks) for name in ("retrieve_s", "denoise_s", "commit_s")
    )
    made_s = retrieve_s + denoise_s + commit_s + decode_s + written
    rollout_s = _side_by_side(calibration, made_s, encoded) + calibration.write_fixed_ms / 1e3
    return StagePrediction(
        load_s=calibration.load_s,
        encode_s=calibration.encode_s,
        retrieve_s=retrieve_s,
        denoise_s=denoise_s,
        commit_s=commit_s,
        decode_s=decode_s,
        write_s=written + calibration.write_fixed_ms / 1e3,
        total_s=calibration.load_s + calibration.encode_s + rollout_s,
        fps=num_frames / rollout_s if rollout_s > 0 else 0.0,
        num_frames=num_frames,
        last_chunk_s=chunks[-1].total_s,
        how=_how(calibration),
        error=(calibration.median_error, calibration.largest_error),
        notes=tuple(_doubts(calibration, plan, turns)),
    )


def _side_by_side(calibration: Calibration, made_s: float, encoded_s: float) -> float:
    """Seconds of a rollout and of encoding its video, which took all cores when it was measured alone.

    On a GPU the slower one counts. On a CPU both want the same cores, and there is only so much of them.
    """
    slower = max(made_s, encoded_s)
    if calibration.threads is None or calibration.cores is None:
        return slower
    return max(slower, encoded_s + made_s * min(1.0, calibration.threads / calibration.cores))


def _how(calibration: Calibration) -> str:
    threads = calibration.threads
    on = f" ({threads} thread{'s' * (threads != 1)})" if threads else ""
    return (
        f"by the profile of {calibration.made_at:%Y-%m-%d}, {age(calibration.made_at)} old, on "
        f"{calibration.device_name}{on}: {calibration.told}; fitted to {calibration.fitted_chunks} chunks, "
        f"off by {calibration.median_error:.0%} (at most {calibration.largest_error:.0%}) on "
        f"{calibration.held_out_chunks} others"
    )


def _doubts(calibration: Calibration, plan: MemoryPlan, turns: tuple[str, ...] | None) -> list[str]:
    """Where a plan leaves what was measured."""
    doubts = []
    if calibration.worldkv_version not in ("", version_of("worldkv")):
        doubts.append(f"the profile was made with worldkv {calibration.worldkv_version}")
    if turns is not None and calibration.turns is not None and turns != calibration.turns:
        was = ", ".join(calibration.turns) or "nothing turned"
        doubts.append(f"the profile ran with {was}, this with {', '.join(turns) or 'nothing turned'}")
    most = max(plan.visible_tokens(step) for step in plan.steps)
    if most > 1.1 * calibration.most_keys:
        doubts.append(f"chunks attend to {most} keys, the profile to {calibration.most_keys} at most")
    if plan.layout.tokens_per_chunk != calibration.tokens_per_chunk:
        doubts.append(
            f"chunks have {plan.layout.tokens_per_chunk} tokens, the profile's {calibration.tokens_per_chunk}"
        )
    for tier in sorted({tier for chunk in range(len(plan.steps)) for tier in read_bytes(plan, chunk)}):
        if tier not in calibration.read_s_per_byte:
            doubts.append(f"reading the bank's {tier} tier was not measured")
    return doubts
