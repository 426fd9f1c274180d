"""The first picture's latents, and what a chunk is told."""

import gc
import weakref

import pytest
import torch

from core.models.lingbot.controls import LingBotControls
from core.models.lingbot.path import CameraPath
from core.models.wan.codec_condition import PictureCondition
from core.models.wan.first_picture import FirstPicture
from tests.core.models.lingbot.slow_rollout import camera_features, condition
from tests.golden_lingbot import network
from tests.tiny_networks import Alone
from tests.tiny_vae import golden_video, tiny_vae
from trajectories import load

FRAMES = 40
SIZE = (32, 16)


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    return golden_video()[:, :, 0, :16, :32]


@pytest.fixture(scope="module")
def whole(picture: torch.Tensor) -> torch.Tensor:
    """Mask and latents of the picture and 156 grey frames, encoded in one go."""
    return condition(tiny_vae(), picture, FRAMES)


@pytest.mark.parametrize("chunk_frames", [1, 3, 4])
def test_equals_the_whole_clip_bit_by_bit(
    picture: torch.Tensor, whole: torch.Tensor, chunk_frames: int
) -> None:
    first = FirstPicture(PictureCondition(tiny_vae(), picture), FRAMES)
    frames = FRAMES - FRAMES % chunk_frames
    chunks = [first.channels(range(i, i + chunk_frames)) for i in range(0, frames, chunk_frames)]
    assert torch.equal(torch.cat(chunks, dim=2), whole[:, :, :frames])
    assert whole.shape == (1, 20, FRAMES, 2, 4)
    assert whole[0, :4, 0].eq(1).all()
    assert whole[0, :4, 1:].eq(0).all()


def test_may_be_stopped_before_every_latent_frame(picture: torch.Tensor) -> None:
    told = []

    def stop() -> None:
        told.append(None)
        if len(told) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FirstPicture(PictureCondition(tiny_vae(), picture), FRAMES, on_frame=stop)


class TestTheEncoder:
    def test_is_freed_before_a_short_rollout(self, picture: torch.Tensor) -> None:
        """Also where the rollout ends before the latents are steady."""
        source = PictureCondition(tiny_vae(), picture)
        first = FirstPicture(source, 6)
        assert source.steady_after is None
        gone = weakref.ref(source)
        del source
        gc.collect()
        assert gone() is None
        assert first.channels(range(3, 6)).shape == (1, 20, 3, 2, 4)

    def test_is_freed_once_latents_are_steady(self, picture: torch.Tensor) -> None:
        source = PictureCondition(tiny_vae(), picture)
        first = FirstPicture(source, 1000)
        assert source.steady_after is not None
        assert source.steady_after < FRAMES
        assert source.cache_bytes == 0
        late = first.channels(range(990, 993))
        assert torch.equal(late, first.channels(range(300, 303)))


@pytest.mark.parametrize("camera_ready", [True, False])
def test_a_chunk_is_told_what_belongs_to_its_frames(
    picture: torch.Tensor, whole: torch.Tensor, camera_ready: bool
) -> None:
    """Prepared once for all passes, or computed anew from concatenated channels: the same flow."""
    net, trajectory = network(), load("loop").slice(0, 45)
    context = torch.randn(1, 5, net.config.text_dim, generator=torch.Generator().manual_seed(0))
    path = CameraPath.exact(trajectory, SIZE, 3, 0.5)
    first = FirstPicture(PictureCondition(tiny_vae(), picture), 12)
    controls = LingBotControls(net, path, first, context, camera_ready=camera_ready)
    features = camera_features(trajectory, SIZE, 0.5)
    x = torch.randn(1, 16, 3, 2, 4, generator=torch.Generator().manual_seed(1))
    flows = []
    for chunk in (0, 2):
        frames = slice(3 * chunk, 3 * chunk + 3)
        with torch.inference_mode():
            ours = controls.chunk(chunk).flow(x, 947.0, Alone())
            flows.append(ours)
            plain = net(
                torch.cat((x, whole[:, :, frames]), dim=1),
                torch.tensor([[947.0]]),
                cache=Alone(),
                camera=net.embed_camera(features[:, frames]),
                context=net.embed_text(context),
            )
        torch.testing.assert_close(ours, plain, atol=1e-5, rtol=0)
    assert (flows[0] - flows[1]).abs().max() > 0.05
    assert controls.viewpoints is path.viewpoints
