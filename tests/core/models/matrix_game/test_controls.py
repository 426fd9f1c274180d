"""What a chunk is told: its own picture channels, the actions that its frames see, and nothing later."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from core.errors import InputError
from core.models.matrix_game.actions import ActionTracks
from core.models.matrix_game.cache import ActionCache
from core.models.matrix_game.controls import MatrixGameControls
from core.models.matrix_game.session import TrackActions
from core.models.wan.action import LayerActions
from core.models.wan.first_picture import FirstPicture
from core.models.wan.network import WanNetwork
from tests.core.models.matrix_game.slow_rollout import rows_of
from tests.golden_matrix_game import (
    CONFIG,
    FrozenActions,
    FrozenLatents,
    frozen,
    golden_viewpoints,
    network,
    network_config,
)
from tests.tiny_networks import Alone
from trajectories import Gains

FRAMES = 12
LATENTS = (1, 16, 3, CONFIG["latent_height"], CONFIG["latent_width"])


def tracks_of(variant: str) -> ActionTracks:
    """The golden tracks, as a session has them."""
    keyboard, mouse = (track.numpy() for track in FrozenActions(variant).tracks)
    return ActionTracks(variant, keyboard, None if variant == "templerun" else mouse, Gains(), np.eye(4))


def controls_of(variant: str, tracks: ActionTracks | None = None) -> MatrixGameControls:
    return MatrixGameControls(
        network(variant),
        golden_viewpoints(FRAMES),
        FirstPicture(FrozenLatents(), FRAMES),
        TrackActions(tracks or tracks_of(variant)),
        frozen("visual_context")[None],
        action_frames=6,
    )


@torch.inference_mode()
def flow_of(controls: MatrixGameControls, chunk: int) -> torch.Tensor:
    latents = torch.randn(LATENTS, generator=torch.Generator().manual_seed(1))
    return controls.chunk(chunk).flow(latents, 713.9794, Alone())


@pytest.mark.parametrize("variant", ["universal", "gta_drive", "templerun"])
@pytest.mark.parametrize("chunk", [0, 2])
def test_prepared_once_or_in_every_pass_is_the_same(variant: str, chunk: int) -> None:
    net, config = network(variant), network_config(variant).actions
    frames = range(3 * chunk, 3 * chunk + 3)
    cache = ActionCache(config, 20, 6, device=torch.device("cpu"), dtype=torch.float32)
    windows = TrackActions(tracks_of(variant)).windows(frames)
    steered = zip(net.embed_actions(windows, frames.start), cache.chunk(frames.start, 3), strict=True)
    mask = torch.zeros(1, 4, *LATENTS[2:])
    if chunk == 0:
        mask[:, :, 0] = 1.0
    latents = torch.randn(LATENTS, generator=torch.Generator().manual_seed(1))
    channels = (latents, mask, frozen("image_latent")[None, :, frames.start : frames.stop])
    with torch.inference_mode():
        plain = net(
            torch.cat(channels, dim=1),
            torch.tensor([[713.9794]]),
            cache=Alone(),
            context=net.embed_image(frozen("visual_context")[None]),
            actions=[LayerActions(*pair) for pair in steered],
        )
    torch.testing.assert_close(flow_of(controls_of(variant), chunk), plain, atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", ["universal", "templerun"])
def test_windows_are_the_rows_before_each_latent_frame(variant: str) -> None:
    tracks = tracks_of(variant)
    windows = TrackActions(tracks).windows(range(3, 6))
    assert windows.keyboard.shape == (1, 3, 12, tracks.keyboard.shape[1])
    expected = rows_of(torch.from_numpy(tracks.keyboard.copy()), range(3, 6))
    assert torch.equal(windows.keyboard[0].flatten(1).double(), expected)
    assert (windows.mouse is None) is (variant == "templerun")


@pytest.mark.parametrize(("row", "seen"), [(31, True), (32, False), (33, False)])
def test_no_chunk_sees_what_comes_later(row: int, seen: bool) -> None:
    """The row at its last video frame moves that frame onwards: chunk 2 ends with frame 32."""
    before = tracks_of("universal")
    keyboard = before.keyboard.copy()
    keyboard[row] = 1 - keyboard[row]
    after = ActionTracks("universal", keyboard, before.mouse, Gains(), np.eye(4))
    ours, theirs = (flow_of(controls_of("universal", tracks), 2) for tracks in (before, after))
    assert torch.equal(ours, theirs) is not seen


class TestCache:
    def test_holds_the_newest_frames(self) -> None:
        """Of four chunks in a ring of four frames: the last three, and one of the chunk before."""
        config = network_config("universal").actions
        cache = ActionCache(config, 2, 4, device=torch.device("cpu"), dtype=torch.float32)
        for chunk in range(4):
            frames = torch.arange(3.0 * chunk, 3.0 * chunk + 3)
            k = frames[None, None, :, None, None].expand(1, 2, 3, config.num_heads, config.head_dim)
            layer = cache.chunk(3 * chunk, 3)[1]
            for _ in range(2):  # later passes overwrite
                keys, values = layer.mouse(k, -k)
                board, _ = layer.keyboard(k[:, 0], k[:, 0])
            reach = list(range(max(0, 3 * chunk - 1), 3 * chunk + 3))
            assert sorted(keys[0, 0, :, 0, 0].tolist()) == reach
            assert torch.equal(values, -keys)
            assert sorted(board[0, :, 0, 0].tolist()) == reach
        assert cache.mouse_kv[:, 0].eq(0).all()  # the other layer's

    def test_refuses_less_than_a_chunk(self) -> None:
        config = network_config("universal").actions
        with pytest.raises(InputError, match="2 latent frames of actions do not hold a chunk of 3"):
            ActionCache(config, 2, 2, device=torch.device("cpu"), dtype=torch.float32)

    def test_without_a_mouse_it_is_small(self) -> None:
        config = network_config("templerun").actions
        cache = ActionCache(config, 880, 6, device=torch.device("cpu"), dtype=torch.bfloat16)
        assert cache.nbytes == 2 * 2 * 6 * 128 * 2  # keys and values, layers, frames, width, bytes


def test_a_network_without_actions_has_no_cache() -> None:
    plain = WanNetwork(replace(network_config("universal"), actions=None)).eval()
    controls = MatrixGameControls(
        plain,
        golden_viewpoints(FRAMES),
        FirstPicture(FrozenLatents(), FRAMES),
        TrackActions(tracks_of("universal")),
        frozen("visual_context")[None],
        action_frames=6,
    )
    assert (controls.cache, controls.nbytes) == (None, 0)
    assert flow_of(controls, 0).isfinite().all()
