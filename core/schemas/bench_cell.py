"""A line of cells.jsonl: one setting, one script, some worlds."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Record(BaseModel):
    """Frozen, and strict about keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Costs(Record):
    """What a setting takes on a script, of one rollout."""

    retrieve_tokens: Count = Field(description="Retrieved tokens that the window has room for.")
    retrieved_tokens: Amount = Field(description="Retrieved tokens of a chunk, on average.")
    window_tokens: Count = Field(description="Most keys that a chunk attends to, its own included.")
    window_bytes: Count = Field(description="Keys and values of the window.")
    bank_bytes: Count = Field(description="Peak of the keys and values in the bank, from the plan.")
    stored_share: Amount = Field(description="Tokens ever stored over all tokens.")
    cpu_ms: Amount = Field(description="Processor time of a chunk, decoding left out, worlds side by side.")


class Score(Record):
    """How well a setting remembers on one script: one value a world."""

    script: str
    setting: str = Field(description="The setting in words.")
    given: bool = Field(description="Whether the first leg was given as truth.")
    costs: Costs
    measures: dict[str, list[Finite]] = Field(description="By measure; what could not be measured is absent.")


class Machine(Record):
    """Where processor times were taken, and with what."""

    processor: str = Field(description="The hardware's own name.")
    versions: dict[str, str]


class Cell(Record):
    """A score and what it belongs to."""

    key: str = Field(description="Hash of all that decides the numbers.")
    setting: dict[str, Any]
    script: str
    given: bool
    first_world: Count
    num_worlds: Annotated[int, Field(ge=1)]
    weights_sha256: str
    engine: Count = Field(description="Version of what turns a setting into numbers.")
    threads: Annotated[int, Field(ge=1)]
    machine: Machine | None = Field(default=None, description="None in cells of before this was noted.")
    score: Score
