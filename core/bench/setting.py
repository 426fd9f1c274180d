"""One way to remember, as the bench compares them. Integers and words: no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal

from core.errors import InputError
from core.memory.footprint import Footprint
from core.memory.layout import MemoryMode, WindowLayout
from core.memory.plan import MemoryPlan
from core.memory.planner import plan_memory
from core.memory.positions import PositionMode
from core.memory.prune_policy import PruneRule, Pruning
from core.memory.row_bytes import Precision
from core.memory.strategies import strategy
from core.memory.strategies.base import Strategy
from core.memory.tiers import Room
from core.memory.viewpoints import Viewpoints
from core.models.mini.config import CHUNK_FRAMES, MiniConfig

TOKENS_PER_FRAME = MiniConfig().grid[0] * MiniConfig().grid[1]
TOKENS_PER_CHUNK = TOKENS_PER_FRAME * CHUNK_FRAMES

_RETRIEVAL = ("strategy", "tokens", "order", "gate", "prune", "keep_ratio", "pooled", "prune_seed", "bank")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One way to remember.

    Attributes:
        name: For tables, where the derived label would not do; two settings that differ in it are equal.
        mode: Memory mode.
        strategy: Retrieval strategy of mode worldkv.
        tokens: Retrieved tokens that the window has room for (0 unless the mode is worldkv).
        order: Which token wins a tie (rays).
        gate: Leave out what corresponds worse: largest distance in radians (rays), least gain (coverage);
            None for the strategy's own.
        prune: Pruning rule.
        keep_ratio: Share of the non-anchor tokens kept. Range: (0, 1].
        pooled: One keep budget a chunk.
        prune_seed: Of rule random.
        positions: Time positions of retrieved keys, and of a sink that follows.
        bank: How the bank keeps keys and values.
        sink: Chunks that always stay (modes sink and worldkv).
        recent: Newest chunks that stay (all but full).
        commit: Which pass writes what is remembered.
    """

    name: str = field(default="", compare=False)
    mode: Literal["full", "sliding", "sink", "worldkv"] = "worldkv"
    strategy: Literal["pose", "coverage", "rays"] = "rays"
    tokens: int = 0
    order: Literal["older", "newer"] = "older"
    gate: float | None = None
    prune: PruneRule = "none"
    keep_ratio: float = 1.0
    pooled: bool = False
    prune_seed: int = 0
    positions: Literal["absolute", "contiguous", "slot"] = "absolute"
    bank: Precision = "native"
    sink: int = 1
    recent: int = 2
    commit: Literal["clean", "last"] = "clean"

    def __post_init__(self) -> None:
        if self.mode != "worldkv":
            made = [key for key in _RETRIEVAL if getattr(self, key) != _default(key)]
            if made:
                problem = f"memory mode {self.mode} retrieves nothing: {', '.join(made)}"
                raise InputError(problem, where=made[0])
            return
        if self.strategy == "rays" and self.prune != "none":
            raise InputError("rays picks single tokens itself, so there is nothing to prune", where="prune")
        if (self.keep_ratio < 1) != (self.prune != "none"):
            problem = f"prune {self.prune} and keep_ratio {self.keep_ratio:g} do not go together"
            raise InputError(problem, where="keep_ratio")
        self._check_gate()
        if self.tokens < 1 or (self.strategy != "rays" and self.tokens % self.kept):
            least = 1 if self.strategy == "rays" else self.kept
            raise InputError(
                f"{self.strategy} retrieves in steps of {least} tokens, got {self.tokens}",
                where="tokens",
                hint=f"a chunk has {TOKENS_PER_CHUNK} tokens, of which this setting keeps {self.kept}",
            )

    def _check_gate(self) -> None:
        if self.gate is None:
            return
        if self.strategy == "pose":
            hint = "rays takes a largest distance in radians, coverage a least gain"
            raise InputError("pose has no gate", where="gate", hint=hint)
        if self.strategy == "coverage" and not 0 < self.gate <= 1:
            raise InputError(
                f"the gate of coverage is a share of the view in (0, 1], got {self.gate:g}", where="gate"
            )
        if self.gate <= 0:
            raise InputError(f"the gate of rays is a distance above 0 rad, got {self.gate:g}", where="gate")

    @property
    def pruning(self) -> Pruning:
        """Pruning as the plan wants it."""
        return Pruning(rule=self.prune, keep_ratio=self.keep_ratio, pooled=self.pooled, seed=self.prune_seed)

    @property
    def kept(self) -> int:
        """Tokens that are left of a pruned chunk."""
        return self.pruning.kept_per_chunk(TOKENS_PER_FRAME, CHUNK_FRAMES)

    @property
    def chunks(self) -> int:
        """Chunks that a strategy for whole chunks retrieves."""
        return self.tokens // self.kept

    @property
    def label(self) -> str:
        """What sets it apart, in words; equal settings have equal labels unless one has a name."""
        return self.name or " ".join(self._words())

    @property
    def key(self) -> Mapping[str, Any]:
        """Everything that decides what comes out."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.compare}

    def _words(self) -> list[str]:
        words: list[str] = [self.mode]
        if self.mode == "worldkv":
            words = [self.strategy, str(self.tokens)]
            if self.prune != "none":
                words += [f"keep {self.keep_ratio:g}", self.prune]
        for key, text in (
            ("pooled", "pooled"),
            ("prune_seed", f"seed {self.prune_seed}"),
            ("gate", f"gate {self.gate}" if self.gate is None else f"gate {self.gate:g}"),
            ("order", f"{self.order} first"),
            ("positions", self.positions),
            ("bank", str(self.bank)),
            ("sink", f"sink {self.sink}"),
            ("recent", f"recent {self.recent}"),
            ("commit", f"{self.commit} pass"),
        ):
            if getattr(self, key) != _default(key):
                words.append(text)
        return words

    def plan(self, footprint: Footprint, viewpoints: Viewpoints) -> MemoryPlan:
        """What the memory does along these viewpoints."""
        mode = MemoryMode(self.mode)
        has_sink = mode in (MemoryMode.SINK, MemoryMode.WORLDKV)
        layout = WindowLayout(
            mode=mode,
            num_frames=viewpoints.num_frames,
            tokens_per_frame=viewpoints.tokens_per_frame,
            sink_frames=self.sink * CHUNK_FRAMES if has_sink else 0,
            recent_frames=self.recent * CHUNK_FRAMES,
            retrieve_tokens=self.tokens,
        )
        plan = plan_memory(
            viewpoints,
            footprint=footprint,
            layout=layout,
            strategy=self._chooser() if mode is MemoryMode.WORLDKV else None,
            pruning=self.pruning,
            reinsert_all=PositionMode(self.positions).moves,
        )
        return plan.within(Room(), self.bank)

    def _chooser(self) -> Strategy:
        if self.strategy == "rays":
            return strategy("rays")(order=self.order, max_distance=self.gate)
        gate = {} if self.gate is None else {"min_gain": self.gate}
        return strategy(self.strategy)(num_chunks=self.chunks, **gate)


def _default(key: str) -> Any:  # noqa: ANN401 - whatever the field holds
    """A field's default."""
    found = next(each for each in fields(Setting) if each.name == key)
    return None if found.default is MISSING else found.default


def make_setting(values: Mapping[str, Any]) -> Setting:
    """A setting from plain values; `chunks` may stand for `tokens`, in retrieved (pruned) chunks.

    Raises:
        InputError: The values do not go together.
    """
    rest = dict(values)
    chunks = rest.pop("chunks", None)
    if chunks is None:
        return Setting(**rest)
    if "tokens" in rest:
        raise InputError("tokens and chunks say the same in two units; give one", where="chunks")
    keep = {key: rest[key] for key in ("prune", "keep_ratio", "pooled") if key in rest}
    pruning = Pruning(
        rule=keep.get("prune", "none"),
        keep_ratio=keep.get("keep_ratio", 1.0),
        pooled=keep.get("pooled", False),
    )
    return Setting(**rest, tokens=round(chunks * pruning.kept_per_chunk(TOKENS_PER_FRAME, CHUNK_FRAMES)))
