"""All that profiling takes of the engine, in one place: sessions, plans, memories, rollouts.

What is measured is the engine's own loop (`core.rollout`); chunks may be jumped over, then noise stands in
the window where their keys would be.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from core.config import Resolved, resolve
from core.fitting import place
from core.memory.plan import MemoryPlan
from core.memory.positions import PositionMode
from core.memory.step import ChunkStep
from core.memory.tiers import Room
from core.memory.world_memory import ChunkCache, WorldMemory
from core.models.base import Controls, Decoder
from core.models.matrix_game.controls import MatrixGameControls
from core.models.registry import model_entry
from core.models.session import LoadedModel, OnLoad, Session
from core.models.wan.codec import StreamingDecoder
from core.models.wan.config import WanConfig
from core.models.wan.network import WanNetwork
from core.models.wan.size import parse_size
from core.noise import seeded_noise
from core.placement import Placement
from core.prefix import after
from core.profiling.settings import ProfileSettings
from core.profiling.sizes import Sizes, model_sizes
from core.rollout import ChunkResult, rollout
from core.script import Script
from trajectories import Trajectory, load

_NONE = -1
_RETRIEVAL = ("retrieve", "retrieve_tokens", "strategy", "gate", "prune", "keep_ratio", "pooled")


@dataclass(frozen=True, eq=False)
class Cell:
    """One memory mode under one budget, planned.

    Attributes:
        mode: Memory mode.
        budget_bytes: Of device memory; None for what is free.
        session: Of the whole rollout.
        resolved: Its settings.
        plan: What the memory does at every chunk.
        placement: Where it lies.
        positions: Where in time retrieved keys pretend to be.
    """

    mode: str
    budget_bytes: int | None
    session: Session
    resolved: Resolved
    plan: MemoryPlan
    placement: Placement
    positions: PositionMode

    @property
    def memory_bytes(self) -> int:
        """Window and bank, as far as they lie in memory."""
        tiers = self.plan.tier_bytes
        return self.plan.window_bytes + tiers["device"] + tiers["host"]


@dataclass(frozen=True, eq=False)
class Stage:
    """A loaded model on which rollouts of several modes are played.

    Attributes:
        model: The loaded model.
        device: Where it computes.
        dtype: Of weights, keys and values.
        folder: Where a bank's disk tier lies.
    """

    model: LoadedModel
    device: torch.device
    dtype: torch.dtype
    folder: Path = Path(tempfile.gettempdir())

    def memory(self, cell: Cell, *, one_layer: bool = False) -> WorldMemory:
        """A cell's window and bank, filled with noise.

        Args:
            cell: Whose.
            one_layer: Let all layers write and read one layer's memory. It fits no cache of the chip, so
                that it takes as long; but of several modes, or of one that is too large, all keys fit.
        """
        kind = OneLayerMemory if one_layer else WorldMemory
        memory = kind(
            cell.plan.within(Room()) if one_layer else cell.plan,
            positions=cell.positions,
            trained_frames=cell.session.trained_frames,
            device=self.device,
            dtype=self.dtype,
            folder=self.folder,
        )
        for tensor in memory.state().values():
            if tensor.is_floating_point():
                tensor.normal_()
        return memory

    def chunks(
        self, cell: Cell, memory: WorldMemory, wanted: Sequence[int] | None = None
    ) -> Iterator[ChunkResult]:
        """Chunks of a fresh rollout, through the engine's own loop.

        Args:
            cell: Which plan.
            memory: Its window and bank.
            wanted: The chunks that are run, in order; None for all.
        """
        plan = cell.plan
        if wanted is not None:
            plan = replace(plan, steps=tuple(plan.steps[chunk] for chunk in wanted))
        shape = (1, self.model.latent_shape[0], plan.layout.chunk_frames, *self.model.latent_shape[1:])
        return rollout(
            fresh_controls(self.model.controls),
            plan,
            memory,
            levels=self.model.levels,
            noise=seeded_noise(0, shape, self.device),
            given=None,
        )

    def decoder(self) -> Decoder:
        """A decoder of its own for one rollout."""
        decoder = copy.copy(self.model.decoder)
        if isinstance(decoder, StreamingDecoder):
            decoder.reset()
        return decoder

    @cached_property
    def network(self) -> WanConfig:
        """Sizes of the network."""
        return network_of(self.model.controls).config

    @property
    def passes(self) -> int:
        """Denoising passes of a chunk; the clean one comes on top."""
        return self.model.levels.num_steps


class OneLayerMemory(WorldMemory):
    """A memory whose layers share one layer's keys and values: as much work in a fraction of the memory."""

    def __init__(self, plan: MemoryPlan, **settings: Any) -> None:  # noqa: ANN401 - as WorldMemory takes them
        super().__init__(replace(plan, footprint=replace(plan.footprint, num_layers=1)), **settings)
        self._layers = plan.footprint.num_layers

    def begin(self, step: ChunkStep) -> ChunkCache:
        """Retrieve once for every layer, unless that was done ahead."""
        ahead = self._inserted == step.chunk
        for layer in range(self._layers):
            if layer and not ahead:
                self._inserted = _NONE
            super().begin(step)
        return _SharedCache(self, step, commits=False)

    def commit_cache(self, step: ChunkStep) -> ChunkCache:
        """Cache of the clean pass."""
        return _SharedCache(self, step, commits=True)


class _SharedCache(ChunkCache):
    """What every layer sees is the first one's."""

    def attend(
        self,
        layer: int,  # noqa: ARG002 - all layers are one
        q: Float[Tensor, "batch tokens heads head_dim"],
        k: Float[Tensor, "batch tokens heads head_dim"],
        v: Float[Tensor, "batch tokens heads head_dim"],
    ) -> Float[Tensor, "batch tokens heads head_dim"]:
        """Attend on behalf of the only layer there is."""
        return super().attend(0, q, k, v)


def open_session(
    settings: ProfileSettings, flags: Mapping[str, Any], env: Mapping[str, str], sizes: Sizes | None = None
) -> Session:
    """A session of the longest rollout, of files or of random weights.

    Args:
        settings: Model and lengths.
        flags: Settings of `generate`.
        env: The environment.
        sizes: Of random weights; None for a share of the released sizes.

    Raises:
        InputError: Settings are wrong.
        ModelFilesError: Files are missing or wrong.
    """
    entry = model_entry(settings.model)
    config = resolve({"model": settings.model, **flags}, env).config
    chunk_frames = entry.pick_chunk_frames(config.chunk_frames, where="--chunk-frames")
    first, later = entry.first_chunk_frames(chunk_frames), entry.later_chunk_frames(chunk_frames)
    shown = rounds(settings.traj, first + (settings.num_chunks - 1) * later)
    script = Script(shown, shown, chunk_frames)
    if not settings.random_weights:
        return entry.open()(config, script)
    sizes = sizes or model_sizes(settings.model, settings.scale)
    if config.size is not None:
        sizes = replace(sizes, frame_size=parse_size(config.size, where="--size"))
    if settings.model == "matrix-game":
        from core.profiling.random_matrix_game import RandomMatrixGameSession

        return RandomMatrixGameSession(config, script, sizes)
    from core.profiling.random_lingbot import RandomLingBotSession

    return RandomLingBotSession(config, script, sizes)


def rounds(traj: str, num_frames: int) -> Trajectory:
    """A trajectory again and again, so that each round sees what the ones before saw; cut to `num_frames`."""
    once = load(traj)
    joined = once
    while joined.num_frames < num_frames:
        joined = after(joined, once)
    return joined.slice(0, num_frames)


def plan_cell(
    session: Session,
    flags: Mapping[str, Any],
    env: Mapping[str, str],
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> Cell:
    """Plan a mode's memory and where it lies.

    Args:
        session: Of the whole rollout.
        flags: Settings of `generate`, the memory mode among them.
        env: The environment.
        device: Where it will run.
        dtype: Of weights, keys and values.

    Raises:
        BudgetError: It does not fit.
    """
    mode, budget = str(flags["memory"]), flags.get("vram_budget")
    kept = {key: value for key, value in flags.items() if mode == "worldkv" or key not in _RETRIEVAL}
    resolved = resolve(kept, env)
    memory, plan, placement = place(resolved, session, device, dtype)
    return Cell(mode, budget, session, resolved, plan, placement, memory.positions)


def window_frames(plan: MemoryPlan) -> int:
    """Latent frames that a plan's window holds beside the current chunk."""
    return plan.window_tokens // plan.layout.tokens_per_frame - plan.layout.chunk_frames


def network_of(controls: Controls) -> WanNetwork:
    """The network behind a rollout's controls."""
    network = getattr(controls.chunk(0), "network", None)
    if not isinstance(network, WanNetwork):
        raise TypeError(f"{type(controls).__name__} binds no Wan network")
    return network


def fresh_controls(controls: Controls) -> Controls:
    """Controls for one more rollout of the same network; only Matrix-Game's remember anything."""
    fresh = copy.copy(controls)
    if isinstance(fresh, MatrixGameControls) and fresh.cache is not None:
        fresh.cache = copy.deepcopy(fresh.cache)
    return fresh


def load_timed(
    cell: Cell, device: torch.device, dtype: torch.dtype, told: OnLoad, folder: Path | None = None
) -> Stage:
    """Load the weights where a cell wants them; `folder` is where a bank's disk tier lies."""
    model = cell.session.load(device, dtype, cell.placement.turns, told)
    return Stage(model, device, dtype, folder or Path(tempfile.gettempdir()))
