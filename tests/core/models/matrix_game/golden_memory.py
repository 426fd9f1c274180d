"""The golden network with a memory that its reference does not have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from core.memory.layout import MemoryMode, WindowLayout
from core.memory.plan import MemoryPlan
from core.memory.planner import plan_memory
from core.memory.positions import PositionMode
from core.memory.prune_policy import Pruning
from core.memory.strategies import strategy
from core.memory.viewpoints import Viewpoints
from core.memory.world_memory import WorldMemory
from core.models.matrix_game.config import find_variant
from core.models.matrix_game.controls import MatrixGameControls
from core.models.wan.first_picture import FirstPicture
from core.models.wan.network import WanNetwork
from core.noise import seeded_noise
from core.sampler import NoiseLevels
from tests.core.memory.tiny import there_and_back
from tests.golden_matrix_game import (
    CONFIG,
    MANIFEST,
    FrozenActions,
    FrozenLatents,
    frozen,
    golden_viewpoints,
    network,
    plan_of,
)

CPU = torch.device("cpu")
CHUNKS = 7
noise = seeded_noise(5, (1, 16, 3, CONFIG["latent_height"], CONFIG["latent_width"]), CPU)


def views() -> Viewpoints:
    """Turning right while walking, then back home."""
    return replace(golden_viewpoints(3 * CHUNKS), c2w=there_and_back(CHUNKS).c2w)


def make_plan(
    *,
    mode: str = "worldkv",
    chooser: str = "pose",
    sink: int = 3,
    recent: int = 3,
    chunks: int = 2,
    tokens: int = 0,
    keep: float = 1.0,
    positions: PositionMode = PositionMode.ABSOLUTE,
    dtype: torch.dtype = torch.float32,
) -> MemoryPlan:
    """A plan with room for `chunks` pruned chunks or for `tokens` tokens."""
    cameras, worldkv = views(), mode == "worldkv"
    pruning = Pruning(rule="key", keep_ratio=keep) if keep < 1 else Pruning()
    whole = chunks * pruning.kept_per_chunk(cameras.tokens_per_frame, 3)
    layout = WindowLayout(
        mode=MemoryMode(mode),
        num_frames=cameras.num_frames,
        tokens_per_frame=cameras.tokens_per_frame,
        sink_frames=sink if mode in ("sink", "worldkv") else 0,
        recent_frames=recent,
        retrieve_tokens=(tokens or whole) if worldkv else 0,
    )
    native = plan_of(MANIFEST["runs"]["universal_full"], cameras)
    retrieves = strategy("rays")() if chooser == "rays" else strategy(chooser)(num_chunks=chunks)
    return plan_memory(
        cameras,
        footprint=replace(native.footprint, kv_element_bytes=dtype.itemsize),
        layout=layout,
        strategy=retrieves if worldkv else None,
        pruning=pruning,
        reinsert_all=positions.moves,
    )


def make_memory(
    plan: MemoryPlan, variant: str, positions: PositionMode = PositionMode.ABSOLUTE, **changes: object
) -> WorldMemory:
    """A memory with the positions that the variant was trained with."""
    settings = {"device": CPU, "dtype": torch.float32, "trained_frames": find_variant(variant).window_frames}
    return WorldMemory(plan, positions=positions, **(settings | changes))


def make_controls(variant: str, net: WanNetwork | None = None) -> MatrixGameControls:
    """Golden actions, picture and tokens; the action caches reach as far as they do natively."""
    return MatrixGameControls(
        net or network(variant),
        views(),
        FirstPicture(FrozenLatents(), 3 * CHUNKS),
        FrozenActions(variant),
        frozen("visual_context")[None],
        action_frames=find_variant(variant).window_frames,
    )


def levels_of(variant: str) -> NoiseLevels:
    return NoiseLevels.from_steps(find_variant(variant).denoising_steps, CONFIG["shift"])


def relative_rms(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float(np.sqrt(((ours - theirs).square().mean() / theirs.square().mean()).item()))
