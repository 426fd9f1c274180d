"""The keys of batch.yaml, version 1; `worldkv batch schema` prints the JSON Schema that is made from them."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ByteSize, ConfigDict, Field, WithJsonSchema, field_validator
from pydantic_core import PydanticCustomError

from core.config import GenerateConfig

OWN_KEYS = ("out", "overwrite", "quiet", "as_json")
"""Settings of `worldkv generate` that the batch makes itself."""

SETTING_KEYS = tuple(key for key in GenerateConfig.model_fields if key not in OWN_KEYS)

_TIME = re.compile(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)|(\d+)([mhd])")

_SETTINGS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "Settings of `worldkv generate`, with underscores for dashes.",
    "properties": {
        key: value
        for key, value in GenerateConfig.model_json_schema()["properties"].items()
        if key in SETTING_KEYS
    },
    "additionalProperties": False,
}
_AXIS_SCHEMA: dict[str, Any] = {
    "description": "Values of a setting (`a..b` counts, `*.png` finds files), or named groups of settings.",
    "anyOf": [
        {"type": ["string", "number", "boolean"]},
        {"type": "array", "items": {"type": ["string", "number", "boolean"]}, "minItems": 1},
        {"type": "object", "additionalProperties": _SETTINGS_SCHEMA, "minProperties": 1},
    ],
}

Settings = Annotated[dict[str, Any], WithJsonSchema(_SETTINGS_SCHEMA)]
Choice = Annotated[
    dict[str, Any],
    WithJsonSchema({"type": "object", "description": "Axes and their values, or lists of values."}),
]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def seconds_of(time: str) -> int:
    """Seconds of "2:00:00", "1-12:00:00", "90m", "2h" or "1d".

    Raises:
        ValueError: It is none of these.
    """
    match = _TIME.fullmatch(time)
    if match is None:
        raise ValueError(time)
    days, hours, minutes, seconds, count, unit = match.groups()
    if count is not None:
        return int(count) * {"m": 60, "h": 3600, "d": 86_400}[unit]
    return ((int(days or 0) * 24 + int(hours)) * 60 + int(minutes)) * 60 + int(seconds)


class Resources(_Strict):
    """What one job takes. The local executor looks at cpus and gpus alone."""

    gpus: int | None = Field(default=None, strict=True, ge=0, description="GPUs of a job.")
    cpus: int | None = Field(default=None, strict=True, ge=1, description="CPU cores of a job.")
    memory: ByteSize | None = Field(default=None, gt=0, description="Host memory of a job, such as 32GiB.")
    time: str | None = Field(default=None, description="Time limit of a job: 2:00:00, 1-12:00:00, 90m or 2h.")
    partition: str | None = Field(default=None, description="Partition of the cluster.")
    account: str | None = Field(default=None, description="Account that is charged.")
    sbatch: dict[str, str | int | bool] = Field(
        default={}, description="Further options of sbatch, without dashes, such as {constraint: a100}."
    )

    @field_validator("time", mode="before")
    @classmethod
    def _readable(cls, value: Any) -> Any:  # noqa: ANN401 - whatever the file holds
        if isinstance(value, str) and _TIME.fullmatch(value) is None:
            raise PydanticCustomError("time", "must be a time such as 2:00:00, 1-12:00:00, 90m or 2h")
        return value

    def changed_by(self, other: Resources) -> Resources:
        """These resources, with what `other` says."""
        said = {key: getattr(other, key) for key in other.model_fields_set}
        if "sbatch" in said:
            said["sbatch"] = {**self.sbatch, **other.sbatch}
        return self.model_copy(update=said)

    @property
    def time_s(self) -> int | None:
        """The time limit in seconds."""
        return None if self.time is None else seconds_of(self.time)


class Override(_Strict):
    """Settings for some of the matrix's jobs."""

    when: Choice = Field(description="The jobs: an axis and its value, or a list of values, for each axis.")
    set: Settings = Field(default={}, description="What is set for them.")
    resources: Resources = Field(default=Resources(), description="Resources that differ for them.")


class JobEntry(BaseModel):
    """A job of its own: its name, and settings beside it."""

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        json_schema_extra=lambda schema: schema.update(
            properties={**_SETTINGS_SCHEMA["properties"], **schema["properties"]}, additionalProperties=False
        ),
    )

    name: str = Field(description="Name of the job.")
    resources: Resources = Field(default=Resources(), description="Resources that differ for it.")


class Matrix(BaseModel):
    """Every combination of the axes is a job. All keys but these are axes."""

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        json_schema_extra=lambda schema: schema.update(additionalProperties=_AXIS_SCHEMA),
    )

    exclude: list[Choice] = Field(default=[], description="Combinations that are left out.")
    include: list[Choice] = Field(
        default=[], description="Further combinations: a value for every axis, and settings beside them."
    )
    overrides: list[Override] = Field(default=[], description="Settings for some combinations.")


class BatchFile(_Strict):
    """batch.yaml."""

    version: Literal[1] = Field(description="Version of the format: 1.")
    out: str | None = Field(
        default=None, description="Folder of all runs; none given: runs/<name of the manifest>."
    )
    names: str | None = Field(
        default=None,
        description="Name of a job of the matrix, such as {image}-{mode}-s{seed}; none given: all axes.",
    )
    layout: str = Field(
        default="{name}",
        description="Run folder of a job of the matrix, such as {mode}/{name}; others lie in {name}.",
    )
    defaults: Settings = Field(default={}, description="Settings of all jobs.")
    matrix: Matrix | None = None
    jobs: list[JobEntry] = Field(default=[], description="Jobs of their own.")
    resources: Resources = Resources()
    retries: int = Field(
        default=1, strict=True, ge=0, description="How often a job that failed is tried again."
    )
    restarts: int = Field(
        default=20,
        strict=True,
        ge=0,
        description="How often a job that was cut off, for example preempted, starts again.",
    )


def batch_json_schema() -> dict[str, Any]:
    """The JSON Schema of batch.yaml."""
    schema = BatchFile.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
