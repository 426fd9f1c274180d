"""A picture and then nothing: equal to encoding it all, and free once nothing changes any more."""

import pytest
import torch

from core.errors import InputError
from core.models.wan.codec import StreamingEncoder
from core.models.wan.codec_condition import PictureCondition
from core.models.wan.vae import WanVae
from tests.golden_lingbot import golden
from tests.tiny_vae import counted, fresh_vae, golden_video, tiny_vae

FRAMES = 45  # more than it takes to settle


def picture(height: int = 24, width: int = 32) -> torch.Tensor:
    return golden_video()[:, :, 0, :height, :width]


def encoded_whole(vae: WanVae, first: torch.Tensor, level: float = 0.0, frames: int = FRAMES) -> torch.Tensor:
    tail = torch.full((*first.shape[:2], 4 * (frames - 1), *first.shape[2:]), level)
    return StreamingEncoder(vae).push(torch.cat((first[:, :, None], tail), dim=2))


def test_golden_condition() -> None:
    ours = PictureCondition(tiny_vae(), picture()).frames(0, 7)
    torch.testing.assert_close(ours, golden("units")["vae.latent_first_frame_zeros"], atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    ("dtype", "level"), [(torch.float32, 0.0), (torch.float32, -1.0), (torch.bfloat16, 0.0)], ids=str
)
def test_a_long_tail_is_equal_bit_by_bit(dtype: torch.dtype, level: float) -> None:
    vae, first = tiny_vae(dtype), torch.cat((picture(), picture().flip(3)))[:, :, :16, :16]
    condition = PictureCondition(vae, first, empty_level=level)
    with counted(vae.network.encoder) as calls:
        ours = torch.cat([condition.frames(i, i + 3) for i in range(0, FRAMES, 3)], dim=2)
    assert torch.equal(ours, encoded_whole(vae, first, level))
    assert condition.steady_after == calls[0] < FRAMES
    steady = ours[:, :, condition.steady_after - 1 :]
    assert torch.equal(steady, steady[:, :, :1].expand_as(steady))


def test_the_latents_became_steady_no_earlier() -> None:
    """Latents differ until shortly before: what the encoder remembers settles with them, not by chance."""
    condition = PictureCondition(tiny_vae(), picture(16, 16))
    latents = condition.frames(0, FRAMES)
    steady = condition.steady_after
    assert steady is not None
    assert not torch.equal(latents[:, :, steady - 4], latents[:, :, steady - 1])


def test_nothing_is_computed_or_kept_once_steady() -> None:
    vae = tiny_vae()
    condition = PictureCondition(vae, picture(16, 16))
    condition.frames(0, 3)
    assert condition.steady_after is None
    assert condition.cache_bytes > 0
    condition.frames(3, FRAMES)
    assert condition.steady_after is not None
    assert condition.cache_bytes == 0
    with counted(vae.network.encoder) as calls:
        far = condition.frames(1_000_000, 1_000_003)
        near = condition.frames(condition.steady_after, condition.steady_after + 3)
    assert calls == [0]
    assert torch.equal(far, near)


def test_frames_may_be_skipped_but_not_passed_again() -> None:
    whole = PictureCondition(tiny_vae(), picture(16, 16)).frames(0, 12)
    condition = PictureCondition(tiny_vae(), picture(16, 16))
    assert torch.equal(condition.frames(6, 9), whole[:, :, 6:9])
    for start, stop in ((6, 9), (8, 10), (9, 9), (-3, 0)):
        with pytest.raises(InputError, match=f"latent frames {start} to {stop}"):
            condition.frames(start, stop)
    assert torch.equal(condition.frames(9, 12), whole[:, :, 9:12])


def test_an_encoder_that_never_settles_goes_on() -> None:
    """As where a GPU's convolutions differ from run to run."""
    vae = fresh_vae()
    generator = torch.Generator().manual_seed(0)

    def jitter(_: object, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        pictures, *cache = inputs
        return pictures + 1e-6 * torch.rand(pictures.shape, generator=generator), *cache

    vae.network.encoder.conv_in.register_forward_pre_hook(jitter)
    condition = PictureCondition(vae, picture(16, 16))
    with counted(vae.network.encoder) as calls:
        latents = condition.frames(0, FRAMES)
    assert condition.steady_after is None
    assert calls == [FRAMES]
    expected = encoded_whole(tiny_vae(), picture(16, 16))
    torch.testing.assert_close(latents, expected, atol=1e-4, rtol=0)
