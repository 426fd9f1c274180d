"""From the user's words about memory to a window, a strategy and a pruning rule."""

from __future__ import annotations

from dataclasses import dataclass

from core.config import GenerateConfig, Resolved
from core.errors import InputError
from core.memory.layout import MemoryMode, WindowLayout
from core.memory.positions import PositionMode
from core.memory.presets import preset
from core.memory.prune_policy import PruneRule, Pruning
from core.memory.strategies import strategy
from core.memory.strategies.base import Strategy
from core.models.outline import Outline

_RAYS_KEYS = ("order", "near_depth", "copies", "chunk_copies")
_RETRIEVAL_KEYS = ("strategy", "gate", *_RAYS_KEYS, "positions", "prune", "keep_ratio", "pooled")


@dataclass(frozen=True)
class MemorySettings:
    """How a rollout remembers.

    Attributes:
        layout: The window.
        strategy: Who chooses what is retrieved; None if nothing is.
        pruning: What is dropped from a chunk before it is stored.
        positions: Where in time retrieved keys pretend to be.
        notes: Settings that have no effect, for the user.
    """

    layout: WindowLayout
    strategy: Strategy | None
    pruning: Pruning
    positions: PositionMode
    notes: tuple[str, ...]


def memory_settings(resolved: Resolved, outline: Outline) -> MemorySettings:
    """Settle what the user left open as the model recommends.

    Raises:
        InputError: No such window is possible.
    """
    config, views = resolved.config, outline.viewpoints
    mode, chooser = MemoryMode(config.memory), config.strategy or outline.defaults.strategy
    pruning = Pruning()
    named = preset(config.memory_preset) if config.memory_preset else None
    if config.keep_ratio < 1.0:
        pruning = Pruning(
            rule=prune_rule(config, outline), keep_ratio=config.keep_ratio, pooled=config.pooled
        )
    notes = _idle_settings(resolved, chooser)
    chosen, tokens = None, 0
    if mode is MemoryMode.WORLDKV:
        chosen, tokens = _retrieval(resolved, outline, pruning, chooser)
        unused = (config.retrieve_tokens or 0) - tokens
        if chooser != "rays" and unused > 0:
            notes += (f"{chooser} retrieves whole chunks: {unused} of the retrieve_tokens stay unused",)
    sink, recent = _native_frames(config, outline)
    if named is not None and named.release_gap and recent % views.chunk_frames:
        raise InputError(
            f"{named.name} drops whole chunks before recent, and {recent} frames are no chunks of "
            f"{views.chunk_frames}",
            where=resolved.sources["recent"],
            hint=f"add --recent {-(-recent // views.chunk_frames) * views.chunk_frames}",
        )
    layout = WindowLayout(
        mode=mode,
        num_frames=views.num_frames,
        chunk_frames=views.chunk_frames,
        tokens_per_frame=views.tokens_per_frame,
        sink_frames=sink,
        recent_frames=recent,
        retrieve_tokens=tokens,
        release_gap=named is not None and named.release_gap,
        opening_frames=max(views.chunk_frames, named.retrieve_frames if named is not None else 0),
    )
    positions = PositionMode(config.positions or outline.defaults.positions)
    return MemorySettings(layout, chosen, pruning, positions, notes)


def prune_rule(config: GenerateConfig, outline: Outline) -> PruneRule:
    """Which tokens of a pruned chunk stay."""
    return config.prune or outline.defaults.prune


def _native_frames(config: GenerateConfig, outline: Outline) -> tuple[int, int]:
    """Sink and recent frames; None means the model's default."""
    has_sink = config.memory in ("sink", "worldkv")
    if config.sink and not has_sink:
        raise InputError(
            f"memory mode {config.memory} has no sink", where="--sink", hint="use --memory sink or worldkv"
        )
    sink = outline.defaults.sink_frames if config.sink is None else config.sink
    recent = outline.defaults.recent_frames if config.recent is None else config.recent
    return (sink if has_sink else 0), recent


def _retrieval(resolved: Resolved, outline: Outline, pruning: Pruning, chooser: str) -> tuple[Strategy, int]:
    """Who fills the room for retrieved tokens, and how many there are, at most those of the whole rollout."""
    config, views = resolved.config, outline.viewpoints
    if config.gate is not None and (config.gate <= 0 or (chooser == "coverage" and config.gate > 1)):
        what = "a share of the view in (0, 1]" if chooser == "coverage" else "a distance above 0"
        raise InputError(f"the gate is {what}, got {config.gate:g}", where=resolved.sources["gate"])
    default_chunks = outline.defaults.retrieve_chunks[chooser]
    if config.memory_preset is not None:
        named = preset(config.memory_preset)
        default_chunks = float(named.retrieve_chunks(views.tokens_per_frame, views.chunk_frames))
    chunks = min(config.retrieve or default_chunks, float(views.num_chunks))
    if chooser == "rays":
        if pruning.rule != "none":
            raise InputError(
                "rays picks single tokens itself, so there is nothing to prune",
                where=resolved.sources["keep_ratio"],
                hint="leave it out, or use --strategy pose or coverage",
            )
        tokens = config.retrieve_tokens or round(chunks * views.tokens_per_chunk)
        if tokens < 1:
            problem = f"{config.retrieve:g} chunks of {views.tokens_per_chunk} tokens are not one token"
            hint = "--memory sink retrieves nothing"
            raise InputError(problem, where=resolved.sources["retrieve"], hint=hint)
        most = views.num_chunks * views.tokens_per_chunk
        finely: dict[str, float | str | None] = {
            "order": config.order,
            "copies": config.copies,
            "chunk_copies": config.chunk_copies,
        }
        if config.near_depth is not None:
            finely["near_depth"] = config.near_depth
        return strategy("rays")(max_distance=config.gate, **finely), min(tokens, most)
    stored = pruning.kept_per_chunk(views.tokens_per_frame, views.chunk_frames)
    whole = _whole_chunks(resolved, chooser, chunks, stored, views.num_chunks)
    if chooser == "coverage" and config.gate is not None:
        return strategy("coverage")(num_chunks=whole, min_gain=config.gate), whole * stored
    return strategy(chooser)(num_chunks=whole), whole * stored


def _whole_chunks(resolved: Resolved, chooser: str, chunks: float, stored: int, num_chunks: int) -> int:
    """How many chunks of `stored` tokens a strategy for whole chunks retrieves."""
    config = resolved.config
    if config.retrieve_tokens is None:
        if chunks != int(chunks):
            problem = f"{chooser} retrieves whole chunks, got {chunks:g}"
            hint = "give a whole number, or use --strategy rays"
            raise InputError(problem, where=resolved.sources["retrieve"], hint=hint)
        return int(chunks)
    whole = min(config.retrieve_tokens // stored, num_chunks)
    if whole < 1:
        raise InputError(
            f"{chooser} retrieves whole chunks of {stored} tokens, and not one fits",
            where=resolved.sources["retrieve_tokens"],
            hint=f"give at least {stored}, or use --strategy rays",
        )
    return whole


def _idle_settings(resolved: Resolved, chooser: str) -> tuple[str, ...]:
    """Settings that somebody made and that change nothing."""
    config, made = resolved.config, resolved.sources
    notes = []
    if config.memory == "full" and "recent" in made:
        notes.append("memory mode full keeps every frame: recent has no effect")
    if config.memory != "worldkv":
        moves_sink = config.memory == "sink"  # it follows where positions stay near
        idle = [key for key in _RETRIEVAL_KEYS if key in made and not (key == "positions" and moves_sink)]
        if idle:
            have = "has" if len(idle) == 1 else "have"
            notes.append(f"memory mode {config.memory} retrieves nothing: {', '.join(idle)} {have} no effect")
    elif config.keep_ratio == 1.0:
        idle = [
            key for key in ("prune", "pooled") if key in made and getattr(config, key) not in ("none", False)
        ]
        if idle:
            notes.append(
                f"keep_ratio is 1: {' and '.join(idle)} {'has' if len(idle) == 1 else 'have'} no effect"
            )
    elif config.prune == "none" and config.keep_ratio < 1.0:
        notes.append("prune is none: keep_ratio has no effect")
    fine = [key for key in _RAYS_KEYS if key in made]
    if fine and config.memory == "worldkv" and chooser != "rays":
        have = "has" if len(fine) == 1 else "have"
        notes.append(f"{chooser} takes whole chunks: {', '.join(fine)} {have} no effect")
    if chooser == "pose" and config.memory == "worldkv" and config.gate is not None:
        notes.append("pose has no gate: gate has no effect")
    return tuple(notes)
