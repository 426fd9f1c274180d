"""What a profile learned about this machine, kept for the next plan.

`worldkv profile` writes it, `worldkv plan` reads it; no torch is imported. One file in the user's cache
folder holds all calibrations, by model, device, dtype and version of torch.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

log = logging.getLogger(__name__)

VERSION: Final = 1
"""Changes with whatever would make older files wrong."""

FILE: Final = "calibration.json"

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Calibration(BaseModel):
    """Rates of one model on one machine, as a profile fitted them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str = Field(description="With its scale, if it is not the released size: lingbot@0.1.")
    device_name: str = Field(description="The hardware's own name, as in run.json's device.model.")
    dtype: str
    torch_version: str
    threads: int | None = Field(default=None, description="Threads of the CPU that torch used.")
    cores: int | None = Field(default=None, description="Of the machine; None on a GPU.")
    made_at: datetime
    worldkv_version: str = Field(default="", description="Empty in files older than the field.")
    num_chunks: int = Field(default=0, ge=0, description="Of the longest rollout that was profiled.")
    repeats: int = Field(default=0, ge=0, description="Rollouts of every memory mode.")
    modes: tuple[str, ...] = Field(default=(), description="Memory modes that were profiled.")
    turns: tuple[str, ...] | None = Field(
        default=None, description="What was turned to make the profile fit; None in files older than it."
    )

    token_flops: Positive = Field(description="Operations of a pass for a token, whatever it attends to.")
    pass_overhead_ms: Amount = Field(description="Of every pass, in which no operation runs.")
    token_flops_per_s: Positive = Field(description="Effective rate of all that does not see keys.")
    attention_flops_per_s: Positive = Field(description="Effective rate of self-attention.")
    prepare_ms_per_token: Amount = Field(description="What is made ready once a chunk.")
    store_s_per_byte: Amount
    retrieve_fixed_ms: Amount = Field(description="Of every chunk, whatever it retrieves.")
    read_s_per_byte: dict[str, Amount] = Field(description="Bank to window, by tier.")
    decode_ms_per_megapixel: Amount = Field(description="Of decoded video.")
    write_ms_per_megapixel: Amount = Field(description="Of video that is enlarged and handed over.")
    encode_ms_per_megapixel: Amount = Field(description="Until it is in the file, beside the rollout.")
    write_fixed_ms: Amount = Field(default=0.0, description="Starting and finishing the file.")
    display_scale: int = Field(default=1, ge=1, description="Enlargement of the frames in the file.")
    video_stride: int = Field(ge=1, description="Video frames of a latent frame; the first is one.")
    load_s: Amount = Field(description="Weights.")
    encode_s: Amount = Field(description="Prompt and first picture, before the rollout.")

    tokens_per_chunk: int = Field(ge=1, description="Of the chunks that were fitted.")
    fewest_keys: int = Field(ge=1)
    most_keys: int = Field(ge=1)
    fitted_chunks: int = Field(ge=1)
    held_out_chunks: int = Field(ge=0)
    median_error: Amount = Field(description="Relative, of held-out chunks.")
    largest_error: Amount

    @property
    def key(self) -> str:
        """What it is found by."""
        return _key(self.model, self.device_name, self.dtype, self.torch_version)

    @property
    def told(self) -> str:
        """The profile behind it, in words."""
        if not self.num_chunks:
            return f"{self.fitted_chunks} chunks"
        rollouts = f"{self.repeats} rollout{'s' * (self.repeats != 1)} of {self.num_chunks} chunks"
        return f"{rollouts} with {', '.join(self.modes)}" if self.modes else rollouts

    def better_than(self, newer: Calibration) -> str:
        """Why this one should stay although a newer one was made; empty if it should not.

        Only profiles of one version with the same threads and turns are compared: others measure something
        else, and then the newer one counts, as it does where an older file does not tell its turns.
        """
        same = ("worldkv_version", "threads", "turns")
        if any(getattr(self, name) != getattr(newer, name) for name in same):
            return ""
        if self.num_chunks != newer.num_chunks:
            longer = self.num_chunks > newer.num_chunks
            return f"its rollouts are longer, {self.num_chunks} chunks against {newer.num_chunks}" * longer
        if self.repeats > newer.repeats:
            return f"it has more repeats, {self.repeats} against {newer.repeats}"
        lacks = [mode for mode in self.modes if mode not in newer.modes]
        if lacks and self.repeats == newer.repeats:
            return f"it knows more modes: {', '.join(lacks)}"
        return ""


@dataclass(frozen=True)
class Kept:
    """What is in the file after a profile.

    Attributes:
        path: The file; None where it cannot be written, which is no reason to fail.
        calibration: The one that counts.
        reason: Why it is an older one; empty if it is the profile's own.
    """

    path: Path | None
    calibration: Calibration
    reason: str = ""


class _File(BaseModel):
    """The file of all calibrations."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = VERSION
    calibrations: dict[str, Calibration] = {}


def calibration_path() -> Path:
    """`worldkv/calibration.json` in the user's cache folder."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if base.is_absolute():  # the XDG specification: a relative path is invalid and to be ignored
        return base / "worldkv" / FILE
    local = os.environ.get("LOCALAPPDATA", "")
    if sys.platform == "win32" and local:
        return Path(local) / "worldkv" / FILE
    return Path.home() / ".cache" / "worldkv" / FILE


def load_calibration(
    model: str, device_name: str, dtype: str, *, torch_version: str | None = None, path: Path | None = None
) -> Calibration | None:
    """What a profile of this machine found out.

    Args:
        model: The word for it on the command line.
        device_name: The hardware's own name (`core.hardware.device_info(device).model`).
        dtype: Of the weights, such as float32 or torch.bfloat16.
        torch_version: None for the one that is installed.
        path: Of the file; None for the user's.

    Returns:
        The calibration, or None where no profile was made, or the file is damaged or too old.
    """
    wanted = _key(model, device_name, dtype, torch_version or version_of("torch"))
    return _read(path or calibration_path()).get(wanted)


def keep_better(calibration: Calibration, *, anew: bool = False, path: Path | None = None) -> Kept:
    """Put a calibration beside those of other models, unless there is a better one of the same kind.

    A profile of a few chunks, made to look at something else, does not spoil the predictions.

    Args:
        calibration: Of the profile.
        anew: Keep it whatever is there, which may have been measured on a bad day.
        path: Of the file; None for the user's.
    """
    target = path or calibration_path()
    older = None if anew else _read(target).get(calibration.key)
    reason = "" if older is None else older.better_than(calibration)
    if older is not None and reason:
        return Kept(target, older, reason)
    return Kept(save_calibration(calibration, path=target), calibration)


def save_calibration(calibration: Calibration, *, path: Path | None = None) -> Path | None:
    """Put a calibration beside those of other models, whole or not at all.

    Returns:
        The file; None where it cannot be written, which is no reason to fail.
    """
    target = path or calibration_path()
    kept = {**_read(target), calibration.key: calibration}
    text = _File(calibrations=kept).model_dump_json(indent=2) + "\n"
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=target.parent, prefix=f".{FILE}.", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(text)
        temporary.replace(target)
    except OSError as error:
        log.warning("the calibration is not kept, %s: %s", target, error.strerror or error)
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        return None
    return target


def age(made_at: datetime) -> str:
    """How long ago, roughly: "2 hours"."""
    seconds = max(0.0, (datetime.now(UTC) - made_at).total_seconds())
    for unit, length_s in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // length_s)
        if count:
            return f"{count} {unit}{'s' * (count != 1)}"
    return "less than a minute"


def _read(path: Path) -> dict[str, Calibration]:
    """All calibrations of a file; none where there is no file, or one that is not ours or damaged."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        log.warning("the calibration %s is ignored: %s", path, error.strerror or error)
        return {}
    try:
        return dict(_File.model_validate(json.loads(text)).calibrations)
    except (ValidationError, ValueError) as error:
        first = str(error).splitlines()[0]
        log.warning("the calibration %s is ignored: %s; worldkv profile makes it anew", path, first)
        return {}


def _key(model: str, device_name: str, dtype: str, torch_version: str) -> str:
    return " | ".join((model, device_name, dtype.removeprefix("torch."), torch_version.partition("+")[0]))


def version_of(package: str) -> str:
    """The installed version of a package; "unknown" if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
