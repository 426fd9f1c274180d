"""A LingBot rollout from its specification: no window, no bank, nothing that is computed ahead or only once.

Cameras, sampler, positions and attention are worked out here again (golden/lingbot README, sections 4 to 7
and 11); of the engine only the network's layers, the codec and the schedule's selections are used.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch

from core.memory.plan import MemoryPlan
from core.memory.step import ChunkStep
from core.models.wan.codec import StreamingEncoder
from core.models.wan.network import WanNetwork
from core.models.wan.vae import WanVae
from core.noise import NoiseSource
from tests.core.memory.slow_memory import rotate
from trajectories import Trajectory

TIMESTEPS = (999.0, 978.0, 947.0, 825.0)
X0_SIGMAS = (0.9998999, 0.9789710, 0.9479089, 0.8258526)
RENOISE_SIGMAS = (0.9788296, 0.9476930, 0.8251926)


def camera_features(
    trajectory: Trajectory, size: tuple[int, int], scale: float | None = None
) -> torch.Tensor:
    """Features of the whole path, [1, latent frames, tokens, 1536]: every fourth camera, step by step."""
    width, height = size
    c2w = trajectory.c2w[::4]
    steps = np.stack([np.eye(4), *(np.linalg.inv(a) @ b for a, b in itertools.pairwise(c2w))])
    longest = np.linalg.norm(steps[:, :3, 3], axis=1).max()
    steps[:, :3, 3] /= scale or longest or 1.0
    rays = np.empty((len(c2w), height, width, 6))
    zoom = max(width / trajectory.image_size[0], height / trajectory.image_size[1])
    for frame, (fx, fy, cx, cy) in enumerate(trajectory.intrinsics[::4] * zoom):
        left, top = (trajectory.image_size[i] * zoom - (width, height)[i] for i in (0, 1))
        x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        inside = np.stack(((x + left / 2 - cx) / fx, (y + top / 2 - cy) / fy, np.ones_like(x)), -1)
        inside /= np.linalg.norm(inside, axis=-1, keepdims=True)
        rays[frame, ..., :3] = steps[frame, :3, 3]
        rays[frame, ..., 3:] = inside @ steps[frame, :3, :3].T
    # frames, (rows of tokens, cells, pixels) twice, components -> component, pixels, cells within each token
    parts = rays.reshape(len(c2w), height // 16, 2, 8, width // 16, 2, 8, 6)
    features = parts.transpose(0, 1, 4, 7, 3, 6, 2, 5).reshape(1, len(c2w), -1, 6 * 64 * 4)
    return torch.from_numpy(features).float()


def condition(vae: WanVae, picture: torch.Tensor, num_frames: int) -> torch.Tensor:
    """Mask and latents of a picture [1, 3, height, width] followed by grey, encoded in one go."""
    clip = torch.zeros(1, 3, 4 * num_frames - 3, *picture.shape[2:])
    clip[:, :, 0] = picture
    latents = StreamingEncoder(vae).push(clip)
    mask = torch.zeros(1, 4, *latents.shape[2:])
    mask[:, :, 0] = 1.0
    return torch.cat((mask, latents), dim=1)


class AllKeys:
    """Raw keys and values of every finished frame; each attention gathers what it may see, in float64."""

    def __init__(self, plan: MemoryPlan, grid: tuple[int, int]) -> None:
        self._layout, self._cols, self._tokens = plan.layout, grid[1], grid[0] * grid[1]
        self._past: dict[int, list[tuple[torch.Tensor, torch.Tensor]]] = {}
        self.seen: list[int] = []

    def start(self, step: ChunkStep, *, commits: bool) -> AllKeys:
        self._step, self._commits = step, commits
        return self

    def attend(self, layer, q, k, v):
        first = self._step.chunk * self._layout.chunk_frames
        own = torch.arange(first * self._tokens, (first + self._layout.chunk_frames) * self._tokens)
        visible = self._visible(first)
        past = self._past.setdefault(layer, [])
        keys, values = k[0], v[0]
        if len(visible):
            old_keys, old_values = (torch.cat([chunk[i] for chunk in past])[visible] for i in (0, 1))
            keys, values = torch.cat((old_keys, keys)), torch.cat((old_values, values))
        ids = torch.cat((visible, own))
        if self._commits:
            past.append((k[0], v[0]))
            if layer == 0:
                self.seen.append(len(ids))
        query, key = (
            rotate(x, (i // self._tokens)[None], (i % self._tokens)[None], self._cols)
            for x, i in ((q, own), (keys[None], ids))
        )
        scores = torch.einsum("bshk,bthk->bhst", query, key) / q.shape[-1] ** 0.5
        return torch.einsum("bhst,bthk->bshk", scores.softmax(-1), values[None].double()).to(q.dtype)

    def _visible(self, first: int) -> torch.Tensor:
        """Tokens of the past by number: those of sink and recent frames, and what is retrieved."""
        layout = self._layout
        reach = first if layout.mode == "full" else layout.recent_frames
        frames = [f for f in range(first) if f < layout.sink_frames or f >= first - reach]
        ids = [torch.arange(f * self._tokens, (f + 1) * self._tokens) for f in frames]
        per_chunk = layout.chunk_frames * self._tokens
        for selection in self._step.selections:
            tokens = np.arange(per_chunk) if selection.tokens is None else selection.tokens
            ids.append(torch.as_tensor(tokens) + selection.chunk * per_chunk)
        return torch.cat(ids) if ids else torch.empty(0, dtype=torch.int64)


@torch.inference_mode()
def slow_rollout(
    network: WanNetwork,
    plan: MemoryPlan,
    keys: AllKeys,
    *,
    camera: torch.Tensor,
    condition: torch.Tensor,
    context: torch.Tensor,
    noise: NoiseSource,
    commit: str = "clean",
) -> list[torch.Tensor]:
    """Clean latents of every chunk; `commit` says which pass is remembered."""
    out = []
    for step in plan.steps:
        frames = slice(step.chunk * plan.layout.chunk_frames, (step.chunk + 1) * plan.layout.chunk_frames)

        def flow(x, timestep, cache, frames=frames):
            return network(
                torch.cat((x, condition[:, :, frames]), dim=1),
                torch.tensor([[timestep]]),
                cache=cache,
                camera=network.embed_camera(camera[:, frames]),
                context=network.embed_text(context),
            )

        x = noise(step.chunk, 0)
        for i, (timestep, sigma) in enumerate(zip(TIMESTEPS, X0_SIGMAS, strict=True)):
            commits = commit == "last" and i == len(RENOISE_SIGMAS)
            x0 = (x.double() - sigma * flow(x, timestep, keys.start(step, commits=commits)).double()).float()
            if i < len(RENOISE_SIGMAS):
                x = (1 - RENOISE_SIGMAS[i]) * x0 + RENOISE_SIGMAS[i] * noise(step.chunk, i + 1)
        if commit == "clean":
            flow(x0, 0.0, keys.start(step, commits=True))
        out.append(x0)
    return out
