"""Counted operations equal what torch counts on the real network, tiny."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from core.models.matrix_game.cache import ActionCache
from core.models.wan.action import ActionWindows, LayerActions
from core.models.wan.config import ActionConfig, WanConfig
from core.models.wan.layers import attention
from core.models.wan.network import WanNetwork
from core.profiling.flops import ChunkShape, Work, chunk_work, pass_work, preparation_work

FRAMES, ROWS, COLS = 3, 2, 3
TOKENS = FRAMES * ROWS * COLS
PAST = 7
CAMERA = WanConfig(
    dim=32,
    ffn_dim=48,
    num_heads=2,
    num_layers=2,
    in_channels=9,
    out_channels=4,
    freq_dim=16,
    text_dim=12,
    text_tokens=5,
    camera_features=8,
    camera_injection="after_attention",
)
MINI = replace(CAMERA, text_dim=0, camera_injection="before_attention")
ACTIONS = WanConfig(
    dim=32,
    ffn_dim=48,
    num_heads=2,
    num_layers=3,
    in_channels=9,
    out_channels=4,
    freq_dim=16,
    image_dim=12,
    actions=ActionConfig(
        layers=(0, 1), num_heads=2, head_dim=64, keyboard_dim=4, keyboard_embedding=8, mouse=True
    ),
)
NO_MOUSE = replace(ACTIONS, actions=replace(ACTIONS.actions, mouse=False, keyboard_dim=7))
NETWORKS = {"lingbot": CAMERA, "mini": MINI, "matrix-game": ACTIONS, "templerun": NO_MOUSE}


class Past:
    """Some keys beside the chunk's own."""

    def attend(self, layer, q, k, v):
        past = torch.zeros(1, PAST, *k.shape[2:])
        return attention(q, torch.cat((past, k), 1), torch.cat((past, v), 1))


def shape_of(config: WanConfig) -> ChunkShape:
    context = 5 if config.text_dim else 6 if config.image_dim else 0
    return ChunkShape(
        tokens=TOKENS, frames=FRAMES, keys=PAST + TOKENS, context_tokens=context, action_frames=FRAMES
    )


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> WanNetwork:
    torch.manual_seed(0)
    return WanNetwork(NETWORKS[request.param]).eval()


def counted(run) -> int:
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def conditions(network: WanNetwork) -> tuple[torch.Tensor, torch.Tensor | None]:
    config = network.config
    pixels = torch.randn(1, config.in_channels - config.out_channels, FRAMES, 2 * ROWS, 2 * COLS)
    features = torch.randn(1, FRAMES, ROWS * COLS, config.camera_features or 1)
    return pixels, features if config.camera_features else None


def test_pass(network: WanNetwork) -> None:
    config = network.config
    with torch.inference_mode():
        pixels, features = conditions(network)
        ready = {"condition": network.embed_condition(pixels), "time": network.embed_time(torch.ones(1, 1))}
        if features is not None:
            ready["camera"] = network.camera_modulations(features)
        if config.text_dim:
            ready["context"] = network.embed_text(torch.randn(1, 3, config.text_dim))
        if config.image_dim:
            ready["context"] = network.embed_image(torch.randn(1, 6, config.image_dim))
        if config.actions is not None:
            ready["actions"] = steered(network)
        latents = torch.randn(1, config.out_channels, FRAMES, 2 * ROWS, 2 * COLS)
    flops = counted(lambda: network(latents, cache=Past(), **ready))
    assert pass_work(config, shape_of(config)).flops == flops


def steered(network: WanNetwork) -> list[LayerActions]:
    actions = network.config.actions
    rows = torch.zeros(1, FRAMES, actions.window_frames, actions.keyboard_dim)
    mouse = torch.zeros(1, FRAMES, actions.window_frames, 2) if actions.mouse else None
    inputs = network.embed_actions(ActionWindows(rows, mouse), 0)
    cache = ActionCache(actions, ROWS * COLS, FRAMES, device=torch.device("cpu"), dtype=torch.float32)
    return [LayerActions(*pair) for pair in zip(inputs, cache.chunk(0, FRAMES), strict=True)]


def test_preparation(network: WanNetwork) -> None:
    pixels, features = conditions(network)

    def prepare() -> None:
        network.embed_condition(pixels)
        if features is not None:
            network.camera_modulations(features)

    assert preparation_work(network.config, shape_of(network.config)).flops == counted(prepare)


def test_every_weight_is_read_in_a_pass_or_before(network: WanNetwork) -> None:
    """What a pass reads and what is made ready, once: all but what embeds time, context and actions."""
    config, shape = network.config, shape_of(network.config)
    once = ("time_", "text_embedding", "img_emb", "cross_attn.k", "cross_attn.v", "cross_attn.norm_k")
    rows = ("keyboard_embed", "keyboard_attn_kv")
    left_out = sum(
        p.numel()
        for name, p in network.named_parameters()
        if name.startswith(once) or any(part in name for part in (*once[3:], *rows))
    )
    if config.actions is not None and config.actions.mouse:
        left_out += 2 * (2 * config.actions.window_frames + 1) * config.actions.hidden
    read = pass_work(config, shape).weight_bytes + preparation_work(config, shape).weight_bytes
    assert read // 4 == config.num_parameters - left_out


def test_chunk_is_preparation_and_passes() -> None:
    shape = shape_of(CAMERA)
    once, ready = pass_work(CAMERA, shape), preparation_work(CAMERA, shape)
    assert chunk_work(CAMERA, shape, passes=4) == ready + once * 5
    assert once.cache_bytes == 2 * 2 * (PAST + TOKENS + 5) * 32 * 4


def test_limit_is_what_takes_longer() -> None:
    work = Work(linear_flops=100, weight_bytes=30)
    assert work.least_s(flops_per_s=10.0, bytes_per_s=10.0) == 10
    assert work.least_s(flops_per_s=100.0, bytes_per_s=10.0) == 3
