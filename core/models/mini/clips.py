"""Training data: rendered clips as latents, in a pool that is renewed a little with every step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from core.errors import InputError
from core.models.mini.codec import PatchCodec
from core.models.mini.conditioning import ray_features
from core.models.mini.config import CHUNK_FRAMES, MiniConfig
from core.models.mini.raycast import render
from core.models.mini.rooms import make_rooms
from core.models.mini.trips import Clip, sample_clip


@dataclass(frozen=True)
class ClipBatch:
    """Several clips.

    Attributes:
        latents: Clean latents.
        rays: Camera features of every token.
        times: Latent frame number of every frame; 0 marks the frame given as picture.
    """

    latents: Float[Tensor, "batch channels frames h w"]
    rays: Float[Tensor, "batch frames tokens features"]
    times: Int64[Tensor, "batch frames"]


def intrinsics_for_fov(fov_deg: float, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy of square pixels for a horizontal field of view."""
    focal = size[0] / 2 / np.tan(np.deg2rad(fov_deg) / 2)
    return focal, focal, size[0] / 2, size[1] / 2


def render_clips(
    clips: list[Clip], seed: int, size: tuple[int, int], device: torch.device
) -> tuple[Float[Tensor, "worlds frames 3 height width"], Tensor, Tensor]:
    """Pictures, c2w and intrinsics of clips, a room around each one's path."""
    longest = max(len(clip.path) for clip in clips)
    paths = np.stack([np.pad(c.path, ((0, longest - len(c.path)), (0, 0)), mode="edge") for c in clips])
    rooms = make_rooms(torch.from_numpy(paths).float(), torch.Generator().manual_seed(seed)).to(device)
    c2w = torch.from_numpy(np.stack([c.c2w for c in clips])).float().to(device)
    rows = [intrinsics_for_fov(c.fov_deg, size) for c in clips]
    intrinsics = torch.tensor(rows, dtype=torch.float32, device=device)[:, None].expand(-1, c2w.shape[1], -1)
    return render(rooms, c2w, intrinsics, size), c2w, intrinsics


class ClipPool:
    """The newest clips, each of which is trained on several times with fresh noise.

    Clip number i depends on the seed and i alone, so a resumed run sees the same data.

    Args:
        config: Picture size.
        codec: Encodes the pictures.
        chunks: Chunks of a clip.
        capacity: Clips kept.
        fresh: Clips rendered for each step.
        seed: Decides all clips.
        device: Where clips are rendered and kept.
    """

    def __init__(
        self,
        config: MiniConfig,
        codec: PatchCodec,
        *,
        chunks: int,
        capacity: int,
        fresh: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self.config, self.codec = config, codec
        self.chunks, self.capacity, self.fresh = chunks, capacity, fresh
        self.seed, self.device = seed, device
        self._batches: list[ClipBatch] = []
        self._next = -1

    def batch(self, step: int, size: int) -> ClipBatch:
        """Clips to train on in a step; steps must be asked for in order, from anywhere."""
        groups = self.capacity // self.fresh
        if size > groups * self.fresh:
            raise InputError(
                f"a pool of {self.capacity} clips cannot give {size} different ones", where="--batch"
            )
        if self._next != step:
            self._batches = [self._render(max(0, step) + i) for i in range(groups)]
        else:
            self._batches = [*self._batches[1:], self._render(step + groups - 1)]
        self._next = step + 1
        picks = np.random.default_rng((self.seed, 1, step)).choice(groups * self.fresh, size, replace=False)
        chosen = [(self._batches[p // self.fresh], p % self.fresh) for p in picks]
        return ClipBatch(
            latents=torch.stack([b.latents[i] for b, i in chosen]),
            rays=torch.stack([b.rays[i] for b, i in chosen]),
            times=torch.stack([b.times[i] for b, i in chosen]),
        )

    def _render(self, group: int) -> ClipBatch:
        rng = np.random.default_rng((self.seed, 0, group))
        return render_batch(self.config, self.codec, rng, self.fresh, self.chunks, self.device)[0]


@torch.no_grad()
def render_batch(
    config: MiniConfig,
    codec: PatchCodec,
    rng: np.random.Generator,
    count: int,
    chunks: int,
    device: torch.device,
) -> tuple[ClipBatch, Float[Tensor, "clips frames 3 height width"]]:
    """New clips, as the network sees them and as pictures.

    Args:
        config: Picture size.
        codec: Encodes the pictures.
        rng: Decides trips and rooms.
        count: Clips.
        chunks: Chunks of a clip.
        device: Where they are rendered.
    """
    clips = [sample_clip(rng, chunks) for _ in range(count)]
    size = (config.width_px, config.height_px)
    pictures, c2w, intrinsics = render_clips(clips, int(rng.integers(1 << 62)), size, device)
    latents = codec.encode(pictures.flatten(0, 1)).view(count, chunks * CHUNK_FRAMES, -1, *config.latent_size)
    batch = ClipBatch(
        latents=latents.transpose(1, 2),
        rays=ray_features(c2w, intrinsics, size),
        times=torch.from_numpy(np.stack([c.times for c in clips])).to(device),
    )
    return batch, pictures
