"""Plans of LingBot rollouts at any size, without files and weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch

from core.memory.footprint import Footprint
from core.memory.layout import MemoryMode, WindowLayout
from core.memory.plan import MemoryPlan
from core.memory.planner import plan_memory
from core.memory.strategies import strategy
from core.memory.viewpoints import Viewpoints
from core.models.lingbot.path import VIDEO_STRIDE, CameraPath
from core.models.wan.config import WanConfig
from core.models.wan.vae_config import VaeConfig
from core.profiling.engine import rounds
from core.profiling.sizes import LINGBOT

__all__ = ["CHUNK_FRAMES", "LINGBOT", "Case"]

CHUNK_FRAMES = 3
SINK, RECENT, RETRIEVED = 3, 3, 9  # latent frames; the paper's window of 18, the current chunk included


@dataclass(frozen=True)
class Case:
    """What is planned, without a byte of weights."""

    network: WanConfig
    vae: VaeConfig
    size: tuple[int, int]
    num_chunks: int
    dtype: torch.dtype
    budget: int | None

    @cached_property
    def path(self) -> CameraPath:
        """Rounds of the library's loop, one after another: each sees what the ones before saw."""
        first = 1 + (CHUNK_FRAMES - 1) * VIDEO_STRIDE
        num_frames = first + (self.num_chunks - 1) * CHUNK_FRAMES * VIDEO_STRIDE
        return CameraPath.exact(rounds("loop", num_frames), self.size, CHUNK_FRAMES, None)

    @property
    def footprint(self) -> Footprint:
        return Footprint(
            num_layers=self.network.num_layers,
            num_heads=self.network.num_heads,
            head_dim=self.network.head_dim,
            grid=self.path.grid,
            chunk_frames=CHUNK_FRAMES,
            kv_element_bytes=self.dtype.itemsize,
            parameter_bytes=self.network.num_parameters * self.dtype.itemsize,
        )

    def plan(self, mode: str, num_chunks: int | None = None) -> MemoryPlan:
        """A mode's plan for the rollout or its first chunks; sliding and worldkv see equally many tokens."""
        views, frames = self.path.viewpoints, (num_chunks or self.num_chunks) * CHUNK_FRAMES
        views = replace(views, c2w=views.c2w[:frames], intrinsics=views.intrinsics[:frames])
        return plan_memory(
            views,
            footprint=self.footprint,
            layout=_layout(mode, views),
            strategy=_strategy(mode),
        )


def _layout(mode: str, views: Viewpoints) -> WindowLayout:
    tokens, retrieves, has_sink = (
        views.tokens_per_frame,
        mode.startswith("worldkv"),
        mode not in ("full", "sliding"),
    )
    return WindowLayout(
        mode=MemoryMode(mode.partition("-")[0]),
        num_frames=views.num_frames,
        chunk_frames=CHUNK_FRAMES,
        tokens_per_frame=tokens,
        sink_frames=SINK if has_sink else 0,
        recent_frames={"full": 0, "sliding": SINK + RETRIEVED + RECENT}.get(mode, RECENT),
        retrieve_tokens=RETRIEVED * tokens if retrieves else 0,
    )


def _strategy(mode: str):
    if mode == "worldkv":
        return strategy("pose")(num_chunks=RETRIEVED // CHUNK_FRAMES)
    return strategy("rays")() if mode == "worldkv-rays" else None
