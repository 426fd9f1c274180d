"""A LingBot rollout without files: sizes of the real model or a share of them, random weights, plans."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from core.errors import BudgetError
from core.memory.footprint import Footprint
from core.memory.layout import MemoryMode, WindowLayout
from core.memory.plan import MemoryPlan
from core.memory.planner import plan_memory
from core.memory.strategies import strategy
from core.memory.viewpoints import Viewpoints
from core.models.lingbot.needs import Needs
from core.models.lingbot.path import VIDEO_STRIDE, CameraPath
from core.models.wan.config import WanConfig
from core.models.wan.network import WanNetwork
from core.models.wan.text_config import UMT5_XXL
from core.models.wan.vae import WanVae, empty_network
from core.models.wan.vae_config import WAN_VAE, VaeConfig
from core.models.wan.weights import build_network
from core.models.wan.weights_placement import WeightPlacement
from core.placement import Budgets, Placement, choose_placement
from core.prefix import after
from trajectories import Trajectory, load

HEAD_DIM = 128
CHUNK_FRAMES = 3
SINK, RECENT, RETRIEVED = 3, 3, 9  # latent frames; the paper's window of 18, the current chunk included
MODES = ("worldkv", "worldkv-rays", "sliding", "sink", "full")

LINGBOT = WanConfig(
    dim=5120,
    ffn_dim=13824,
    num_heads=40,
    num_layers=40,
    in_channels=36,
    out_channels=16,
    freq_dim=256,
    text_dim=4096,
    text_tokens=512,
    camera_features=1536,
    camera_injection="after_attention",
)


def scaled(share: float) -> tuple[WanConfig, VaeConfig]:
    """Network and codec of the real sizes, or narrower and shallower; heads stay 128 wide."""
    if share == 1:
        return LINGBOT, WAN_VAE
    heads = max(1, round(LINGBOT.num_heads * share))
    network = replace(
        LINGBOT,
        dim=heads * HEAD_DIM,
        ffn_dim=max(1, round(LINGBOT.ffn_dim * share / 8)) * 8,
        num_heads=heads,
        num_layers=max(4, round(LINGBOT.num_layers * share)),
        text_dim=max(1, round(LINGBOT.text_dim * share / 8)) * 8,
        text_tokens=max(8, round(LINGBOT.text_tokens * share)),
    )
    return network, replace(WAN_VAE, base_dim=max(4, round(WAN_VAE.base_dim * share / 4) * 4))


def loops(num_chunks: int) -> Trajectory:
    """Rounds of the library's loop, one after another: each sees what the ones before saw."""
    loop = load("loop")
    first = 1 + (CHUNK_FRAMES - 1) * VIDEO_STRIDE
    wanted = first + (num_chunks - 1) * CHUNK_FRAMES * VIDEO_STRIDE
    rounds = loop
    while rounds.num_frames < wanted:
        rounds = after(rounds, loop)
    return rounds.slice(0, wanted)


@dataclass(frozen=True)
class Case:
    """What is benchmarked, without a byte of weights."""

    network: WanConfig
    vae: VaeConfig
    size: tuple[int, int]
    num_chunks: int
    dtype: torch.dtype
    budget: int | None

    @cached_property
    def path(self) -> CameraPath:
        """See `loops`."""
        return CameraPath.exact(loops(self.num_chunks), self.size, CHUNK_FRAMES, None)

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

    def placed(self, mode: str, num_chunks: int | None = None) -> tuple[MemoryPlan, Placement]:
        """A plan, and where everything lies under the budget.

        Raises:
            BudgetError: It does not fit.
        """
        needs = Needs(
            network=self.network,
            vae=self.vae,
            size=self.size,
            decode_dtype=torch.float32,
            text=UMT5_XXL,
            encodes=False,
        )
        plan = self.plan(mode, num_chunks)
        # What costs as many copies as streamed weights would be measured instead of the window.
        weights = "resident" if mode == "full" else "auto"
        options = needs.options(plan, self.dtype, weights=weights, bank=None)
        return plan, choose_placement(options, Budgets(self.budget), plan, ways_out=())

    def longest(self, mode: str) -> int:
        """Most chunks of a mode that fit the budget; 0 if none does."""
        fits, fails = 0, self.num_chunks
        while fails - fits > 1:
            middle = (fits + fails) // 2
            try:
                self.placed(mode, middle)
                fits = middle
            except BudgetError:
                fails = middle
        return fits


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


def random_weights(
    config: WanConfig, device: torch.device, dtype: torch.dtype
) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors of the network, each made where it will lie."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in WanNetwork(config).state_dict().items()}
    for name, shape in shapes.items():
        yield name, _random(name, torch.empty(shape, device=device, dtype=dtype))


def random_network(
    config: WanConfig, placement: WeightPlacement, device: torch.device, dtype: torch.dtype
) -> WanNetwork:
    tensors = random_weights(config, device, dtype)
    return build_network(config, tensors, placement=placement, device=device, dtype=dtype)


def random_vae(config: VaeConfig, device: torch.device) -> WanVae:
    """A codec in float32."""
    network = empty_network(config).to_empty(device=device).eval().requires_grad_(requires_grad=False)
    for name, parameter in network.named_parameters():
        _random(name, parameter.data)
    return WanVae.of(config, network)


def _random(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Values with which activations neither vanish nor overflow."""
    if name.endswith(("gamma", "norm_q.weight", "norm_k.weight", "norm3.weight")):
        return tensor.fill_(1.0)
    if name.endswith("bias"):
        return tensor.zero_()
    if "modulation" in name:
        return tensor.normal_(0.0, 0.1)
    return tensor.normal_(0.0, 0.7 / tensor[0].numel() ** 0.5)
