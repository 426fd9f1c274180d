"""The contents of bench.json, version 2; `bench.schema.json` is made from them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from core.schemas.bench_cell import Amount, Count, Finite, Machine, Record

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
    operations: Amount = Field(
        description="Operations of a generated chunk of a world in linear layers and attention, on average; "
        "from the plan."
    )
    cpu_ms: Amount = Field(
        description="Processor time of a generated chunk and world, in a worker of one thread that plays "
        "worlds side by side; a given chunk counts as the one pass that it takes. On a machine that others "
        "use, too, good for a third more or less, and comparable only within one entry of `machines`."
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


class PlayedOn(Record):
    """How many cells were played on a machine."""

    machine: Machine | None = Field(description="None where the cells do not tell.")
    cells: Count


class BenchReport(Record):
    """bench.json."""

    schema_version: Literal[2] = 2
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
    machines: list[PlayedOn] = Field(description="Where the cells were played.")
    measures: dict[str, str] = Field(description="What each measure is.")
    families: list[FamilyRecord]
    rows: list[Row]
    comparisons: list[Comparison]

    @property
    def times_compare(self) -> bool:
        """Whether all processor times were taken on one machine, with one set of versions."""
        return len(self.machines) == 1

    def row(self, label: str, scripts: list[str]) -> Row | None:
        """A setting's row on some scripts; None if it is not finished."""
        return next((row for row in self.rows if row.label == label and row.scripts == scripts), None)
