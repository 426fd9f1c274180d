"""A tiny network with random weights, steered along any viewpoints: what rollouts in tests are made of."""

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace

import numpy as np
import torch

from core.memory.footprint import Footprint
from core.memory.layout import MemoryMode, WindowLayout
from core.memory.plan import MemoryPlan
from core.memory.planner import plan_memory
from core.memory.positions import PositionMode
from core.memory.prune_policy import Pruning
from core.memory.strategies.base import Strategy
from core.memory.tiers import Room, Tier
from core.memory.viewpoints import Viewpoints
from core.memory.world_memory import WorldMemory
from core.models.mini.conditioning import ray_features
from core.models.wan.config import WanConfig
from core.models.wan.network import WanNetwork
from core.noise import seeded_noise
from core.rollout import Commit, rollout
from core.sampler import NoiseLevels
from tests.core.memory.policy.cameras import viewpoints, yaw_c2w

CPU = torch.device("cpu")
CHANNELS = 4
LATENT_SIZE = (6, 8)  # cells of 8 px: pictures of 64x48, 3 rows and 4 columns of tokens
LEVELS = NoiseLevels.shifted((1.0, 0.5), shift=5.0)
CONFIG = WanConfig(
    dim=48,
    ffn_dim=64,
    num_heads=3,
    num_layers=2,
    in_channels=CHANNELS,
    out_channels=CHANNELS,
    freq_dim=32,
    camera_features=4 * 39,
    camera_injection="before_attention",
)


def randomise(net: WanNetwork, seed: int = 0) -> WanNetwork:
    """Random weights whose attention is sharp enough for every single key to matter."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in net.named_parameters():
        fan_in = p[0].numel() if p.ndim > 1 and "modulation" not in name else 1
        p.data.copy_(torch.randn(p.shape, generator=generator) * (0.3 if fan_in == 1 else fan_in**-0.5))
        if "norm" in name:
            p.data.add_(1.5)
    return net.requires_grad_(requires_grad=False).eval()


@cache
def network(dtype: torch.dtype = torch.float32, device: torch.device = CPU) -> WanNetwork:
    return randomise(WanNetwork(CONFIG)).to(device, dtype)


class TinyControls:
    """Viewing rays of every chunk; see `core.models.base.Controls`."""

    def __init__(self, views: Viewpoints, dtype: torch.dtype = torch.float32, device: torch.device = CPU):
        self.viewpoints = views
        self.network = network(dtype, device)
        c2w = torch.from_numpy(np.linalg.inv(views.c2w[0]) @ views.c2w).float()
        intrinsics = torch.from_numpy(views.intrinsics).float()
        self.rays = ray_features(c2w[None], intrinsics[None], views.image_size).to(device, dtype)
        self.dtype = dtype

    def chunk(self, index: int) -> SimpleNamespace:
        camera = self.network.camera_modulations(self.rays[:, 3 * index : 3 * index + 3])

        def flow(latents, timestep, cache):
            t = torch.full((1, 1), timestep, device=latents.device)
            return self.network(latents.to(self.dtype), t, cache=cache, camera=camera)

        return SimpleNamespace(flow=flow)


def there_and_back(num_chunks: int, step_deg: float = 15.0) -> Viewpoints:
    """Turn right, then back home the same way, while walking a little."""
    frames = 3 * num_chunks
    ramp = np.minimum(np.arange(frames), np.arange(frames)[::-1]).astype(float)
    walk = np.stack((0.02 * ramp, np.zeros(frames), 0.05 * ramp), axis=1)
    return viewpoints(yaw_c2w(step_deg * ramp, walk))


def make_plan(
    views: Viewpoints,
    *,
    mode: str = "worldkv",
    sink: int = 0,
    recent: int = 0,
    chunks: int = 0,
    tokens: int = 0,
    strategy: Strategy | None = None,
    pruning: Pruning | None = None,
    positions: PositionMode = PositionMode.ABSOLUTE,
    release_gap: bool = False,
    keep_all: bool = False,
) -> MemoryPlan:
    """A plan with room for `chunks` pruned chunks or for `tokens` tokens."""
    pruning = pruning or Pruning()
    per_frame = views.tokens_per_frame
    layout = WindowLayout(
        mode=MemoryMode(mode),
        num_frames=views.num_frames,
        tokens_per_frame=per_frame,
        sink_frames=sink,
        recent_frames=recent,
        retrieve_tokens=tokens or chunks * pruning.kept_per_chunk(per_frame, 3),
        release_gap=release_gap,
    )
    footprint = Footprint(
        num_layers=CONFIG.num_layers,
        num_heads=CONFIG.num_heads,
        head_dim=CONFIG.head_dim,
        grid=views.grid,
        kv_element_bytes=4,
        parameter_bytes=0,
    )
    return plan_memory(
        views,
        footprint=footprint,
        layout=layout,
        strategy=strategy,
        pruning=pruning,
        keep_all=keep_all,
        reinsert_all=positions.moves,
    )


def noise_of(batch: int, device: torch.device = CPU) -> Callable[[int, int], torch.Tensor]:
    return seeded_noise(5, (batch, CHANNELS, 3, *LATENT_SIZE), device)


def new_memory(plan: MemoryPlan, **changes) -> WorldMemory:
    settings = {"trained_frames": 9, "device": CPU, "dtype": torch.float32}
    tier: Tier | None = changes.pop("tier", None)
    if tier is not None:
        plan = plan.within(Room.only(tier))
    return WorldMemory(plan, **(settings | changes))


def run(
    views: Viewpoints, plan: MemoryPlan, memory: WorldMemory, *, batch: int = 1, commit: Commit = "clean"
) -> list[torch.Tensor]:
    """Clean latents of every chunk, through the engine."""
    dtype, device = memory.window.keys.dtype, memory.device
    controls = TinyControls(views, dtype, device)
    noise = noise_of(batch, device)
    results = rollout(controls, plan, memory, levels=LEVELS, noise=noise, commit=commit)
    return [r.latents for r in results]
