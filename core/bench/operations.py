"""Operations of a generated chunk, from the plan: what a setting costs on a machine that nobody disturbs."""

from __future__ import annotations

from functools import cache

import numpy as np

from core.bench.scripts import Script
from core.bench.setting import Setting
from core.models.mini.config import CHUNK_FRAMES, MiniConfig
from core.models.mini.outline import DENOISING_LEVELS, mini_footprint, mini_viewpoints
from core.profiling.flops import ChunkShape, chunk_work


@cache
def chunk_operations(setting: Setting, script: Script, *, given_chunks: int) -> float:
    """Mean operations of the chunks that are generated, in linear layers and attention, all passes together.

    Planning, moving keys, unpacking a bank of few bits and decoding are left out.

    Args:
        setting: How is remembered.
        script: What is played.
        given_chunks: Chunks at the beginning that are not generated.
    """
    config = MiniConfig()
    plan = setting.plan(
        mini_footprint(config, np.dtype("float32")), mini_viewpoints(config, script.trajectory())
    )
    passes = len(DENOISING_LEVELS) - (setting.commit == "last")  # beside the clean one that writes
    told = [
        chunk_work(
            config.network,
            ChunkShape(
                tokens=plan.layout.tokens_per_chunk, frames=CHUNK_FRAMES, keys=plan.visible_tokens(step)
            ),
            passes=passes,
        ).flops
        for step in plan.steps[given_chunks:]
    ]
    return float(np.mean(told))
