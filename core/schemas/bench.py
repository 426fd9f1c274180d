"""The contents of bench.json, version 1; `bench.schema.json` is made from them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from core.schemas.bench_cell import Amount, Count, Finite, Record
from core.schemas.run import Device

Status = Literal["done", "interrupted"]


class Interval(Record):
    """A mean over worlds and its 95% interval, by bootstrap over worlds."""

    mean: Finite
    low: Finite
    high: Finite


class SettingCosts(Record):
    """What a setting takes on its scripts: bytes and shares on average, keys at most."""

    retrieve_tokens: Count = Field(description="Retrieved tokens that the window has room for.")
    retrieved_tokens: Amount = Field(description="Retrieved tokens of a chunk, on average.")
    window_tokens: Count = Field(description="Most keys that a chunk attends to, its own included.")
    window_bytes: Amount = Field(description="Keys and values of the window.")
    bank_bytes: Amount = Field(description="Peak of the keys and values in the bank, from the plan.")
    stored_share: Amount = Field(description="Tokens ever stored over all tokens.")
    cpu_ms: Amount = Field(
        description="Processor time of a generated chunk and world, in a worker of one thread that plays "
        "worlds side by side; a given chunk counts as the one pass that it takes."
    )

    @property
    def kv_bytes(self) -> float:
        """Window and bank together."""
        return self.window_bytes + self.bank_bytes


class Row(Record):
    """A setting on a group of scripts, all of whose cells are finished."""

    label: str
    setting: dict[str, Any]
    scripts: list[str]
    costs: SettingCosts
    given: dict[str, Interval] = Field(description="By measure, the first leg given; empty if not played.")
    free: dict[str, Interval] = Field(description="By measure, only the first picture given.")
    by_script: dict[str, dict[str, Finite]] = Field(
        description="Means by script and `given.` or `free.` measure."
    )


class Comparison(Record):
    """Two settings on the same worlds and noise: `a` minus `b`, paired."""

    family: str
    words: str
    a: str
    b: str
    scripts: list[str]
    given: bool
    differences: dict[str, Interval] = Field(description="By measure.")


class FamilyRecord(Record):
    """What belongs together in tables and figures."""

    name: str
    title: str
    labels: list[str]
    scripts: list[str]
    protocols: list[Literal["given", "free"]]
    curve: bool
    by: str | None


class BenchReport(Record):
    """bench.json."""

    schema_version: Literal[1] = 1
    status: Status
    suite: str
    command: str = Field(description="What makes it again.")
    made_at: datetime
    first_world: Count
    num_worlds: Annotated[int, Field(ge=1)]
    cells_done: Count
    cells_total: Count
    weights_sha256: str
    engine: Count
    threads: Annotated[int, Field(ge=1)] = Field(description="Of every worker.")
    device: Device
    versions: dict[str, str]
    measures: dict[str, str] = Field(description="What each measure is.")
    families: list[FamilyRecord]
    rows: list[Row]
    comparisons: list[Comparison]

    def row(self, label: str, scripts: list[str]) -> Row | None:
        """A setting's row on some scripts; None if it is not finished."""
        return next((row for row in self.rows if row.label == label and row.scripts == scripts), None)
