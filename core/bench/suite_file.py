"""What a suite's YAML file says."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator
from pydantic_core import PydanticCustomError

Protocol = Literal["given", "free"]
Word = Annotated[str, StringConstraints(min_length=1, max_length=60)]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
By = Literal[
    "mode",
    "strategy",
    "tokens",
    "order",
    "gate",
    "prune",
    "keep_ratio",
    "pooled",
    "prune_seed",
    "positions",
    "bank",
    "sink",
    "recent",
    "commit",
]
"""What sets settings apart: the fields of `Setting`."""


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ScriptFile(_File):
    """A camera script of one's own."""

    name: Word
    steps: Annotated[list[Any], Field(min_length=1)] = Field(description="Steps of the trajectory language.")
    given_chunks: Positive = Field(description="Chunks of the first leg, before the camera turns back.")
    deg_per_frame: Annotated[float, Field(gt=0, le=90)] = Field(
        default=10.0, description="How fast the camera turns; it walks 0.012 units a frame for each degree."
    )
    min_gap_frames: Positive = Field(default=12, description="Smallest gap of a revisit.")


class SettingFile(_File):
    """A setting, or several: lists are multiplied out. See `Setting`; `chunks` may stand for `tokens`."""

    mode: (
        Literal["full", "sliding", "sink", "worldkv"] | list[Literal["full", "sliding", "sink", "worldkv"]]
    ) = "worldkv"
    strategy: Literal["pose", "coverage", "rays"] | list[Literal["pose", "coverage", "rays"]] | None = None
    tokens: Positive | list[Positive] | None = None
    chunks: Positive | list[Positive] | None = None
    order: Literal["older", "newer"] | list[Literal["older", "newer"]] | None = None
    gate: Annotated[float, Field(gt=0)] | list[Annotated[float, Field(gt=0)] | None] | None = None
    prune: (
        Literal["none", "key", "view", "random", "stride"]
        | list[Literal["none", "key", "view", "random", "stride"]]
        | None
    ) = None
    keep_ratio: Annotated[float, Field(gt=0, le=1)] | list[Annotated[float, Field(gt=0, le=1)]] | None = None
    pooled: bool | list[bool] | None = None
    prune_seed: Count | list[Count] | None = None
    positions: (
        Literal["absolute", "contiguous", "slot"] | list[Literal["absolute", "contiguous", "slot"]] | None
    ) = None
    bank: Literal["native", "int8", "int4"] | list[Literal["native", "int8", "int4"]] | None = None
    sink: Count | list[Count] | None = None
    recent: Count | list[Count] | None = None
    commit: Literal["clean", "last"] | list[Literal["clean", "last"]] | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_empty_list(cls, value: object) -> object:
        if value == []:
            raise PydanticCustomError("empty", "the list is empty; leave the key out for its default")
        return value


class PairFile(_File):
    """Two settings whose difference is told, the first minus the second, or minus the mean of several."""

    words: Annotated[str, StringConstraints(min_length=1, max_length=120)]
    a: SettingFile
    b: SettingFile


class FamilyFile(_File):
    """Settings that answer one question, and the figure that shows it."""

    name: Slug
    title: Annotated[str, StringConstraints(min_length=1, max_length=120)]
    settings: Annotated[list[SettingFile], Field(min_length=1)]
    scripts: list[Word] = Field(default=[], description="Names; none: the suite's `scripts`, all of them.")
    protocols: Annotated[list[Protocol], Field(min_length=1)] = ["given", "free"]
    against: SettingFile | None = Field(
        default=None, description="What is changed in every setting to get the one it is compared with."
    )
    pairs: list[PairFile] = Field(default=[], description="Further comparisons.")
    curve: bool = Field(default=False, description="Draw curves over tokens and bytes instead of bars.")
    by: By | None = Field(default=None, description="What the curves of the figure differ in.")


class SuiteFile(_File):
    """A suite: which settings play which scripts in which worlds."""

    version: Literal[1]
    name: Slug
    worlds: Positive = 32
    first_world: Count = Field(
        default=32,
        description="Number of the first held-out world; the first 32 were used to choose rays 135.",
    )
    batch: Positive = Field(default=16, description="Worlds side by side.")
    scripts: Annotated[list[Word | ScriptFile], Field(min_length=1)] = Field(
        description="Names of bundled scripts, or scripts of one's own; families play all unless they say."
    )
    more_scripts: list[Word | ScriptFile] = Field(
        default=[], description="Scripts that only the families play that name them."
    )
    families: Annotated[list[FamilyFile], Field(min_length=1)]
