"""Streaming: against the golden numbers, and bit by bit however the video is cut."""

import numpy as np
import pytest
import torch

from core.errors import InputError
from core.models.base import Decoder
from core.models.wan.codec import StreamingDecoder, StreamingEncoder
from core.models.wan.vae import WanVae
from core.models.wan.vae_cache import FeatureCache
from tests.golden_lingbot import MANIFEST, frozen, golden
from tests.tiny_vae import fresh_vae, golden_video, tiny_vae

ATOL = MANIFEST["tolerance"]["unit"]


def latents(frames: int = 6, h: int = 3, w: int = 4) -> torch.Tensor:
    return torch.randn(1, 16, frames, h, w, generator=torch.Generator().manual_seed(7))


def test_golden_latents() -> None:
    ours = StreamingEncoder(tiny_vae()).push(golden_video())
    torch.testing.assert_close(ours, golden("units")["vae.latent"], atol=ATOL, rtol=0)


def test_golden_pictures() -> None:
    """The golden ones are not clamped."""
    vae, cache = tiny_vae(), FeatureCache()
    with torch.inference_mode():
        steps = [vae.decode_step(z, cache) for z in frozen("unit.vae.z").split(1, dim=2)]
    expected = golden("units")["vae.decoded"]
    torch.testing.assert_close(torch.cat(steps, dim=2), expected, atol=ATOL, rtol=0)
    assert expected.abs().max() > 1
    ours = StreamingDecoder(vae).push_float(frozen("unit.vae.z"))
    torch.testing.assert_close(ours, expected.clamp(-1, 1), atol=ATOL, rtol=0)


def test_as_the_library_does_it_in_one_go() -> None:
    vae = tiny_vae()
    with torch.inference_mode():
        mode = vae.network.encode(golden_video()).latent_dist.mode()
        pictures = vae.network.decode(latents() * vae.std + vae.mean).sample
    torch.testing.assert_close(StreamingEncoder(vae).push(golden_video()), (mode - vae.mean) / vae.std)
    torch.testing.assert_close(StreamingDecoder(vae).push_float(latents()), pictures)


@pytest.mark.parametrize("pushes", [(1, 4, 4, 4), (1, 12), (5, 8), (9, 4)])
def test_encoding_does_not_depend_on_the_pushes(pushes: tuple[int, ...]) -> None:
    whole = StreamingEncoder(tiny_vae()).push(golden_video())
    encoder = StreamingEncoder(tiny_vae())
    parts = [encoder.push(part) for part in golden_video().split(pushes, dim=2)]
    assert [part.shape[2] for part in parts] == [(n + 3) // 4 for n in pushes]
    assert torch.equal(torch.cat(parts, dim=2), whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("pushes", [(1, 1, 1, 1, 1, 1), (3, 3), (1, 5), (4, 2)])
def test_decoding_does_not_depend_on_the_pushes(pushes: tuple[int, ...], dtype: torch.dtype) -> None:
    vae = tiny_vae(dtype)
    whole = StreamingDecoder(vae).push_float(latents())
    decoder = StreamingDecoder(vae)
    parts = [decoder.push_float(part) for part in latents().split(pushes, dim=2)]
    assert [part.shape[2] for part in parts] == [4 * n - 3 * (i == 0) for i, n in enumerate(pushes)]
    assert torch.equal(torch.cat(parts, dim=2), whole)


def test_frames_are_rounded_levels() -> None:
    decoder: Decoder = StreamingDecoder(tiny_vae())
    assert isinstance(decoder, Decoder)
    frames = decoder.push(latents())
    assert frames.shape == (1, 21, 24, 32, 3)
    assert frames.dtype == np.uint8
    exact = StreamingDecoder(tiny_vae()).push_float(latents()).permute(0, 2, 3, 4, 1).numpy()
    assert np.abs(frames / 127.5 - 1 - exact).max() <= 0.5 / 127.5 + 1e-6
    assert frames.min() == 0  # clamped
    assert frames.max() == 255


def test_videos_do_not_disturb_each_other() -> None:
    vae, other = tiny_vae(), latents() * 0.5
    one, two = StreamingDecoder(vae), StreamingDecoder(vae)
    mixed = [(one.push(latents()[:, :, i : i + 2]), two.push(other[:, :, i : i + 2])) for i in (0, 2, 4)]
    assert (np.concatenate([a for a, _ in mixed], 1) == StreamingDecoder(vae).push(latents())).all()
    assert (np.concatenate([b for _, b in mixed], 1) == StreamingDecoder(vae).push(other)).all()


def test_reset_begins_another_video() -> None:
    decoder = StreamingDecoder(tiny_vae())
    first = decoder.push(latents())
    assert decoder.cache_bytes > 0
    decoder.reset()
    assert decoder.cache_bytes == 0
    assert (decoder.push(latents()) == first).all()
    decoder.reset()
    assert decoder.push(latents(2, 2, 5)).shape == (1, 5, 16, 40, 3)


def test_caches_do_not_grow() -> None:
    encoder, decoder = StreamingEncoder(tiny_vae()), StreamingDecoder(tiny_vae())
    encoder.push(golden_video()[:, :, :5])
    decoder.push(latents(2))
    sizes = encoder.cache.nbytes, decoder.cache_bytes
    for _ in range(3):
        encoder.push(golden_video()[:, :, 5:])
        decoder.push(latents(3))
    assert sizes == (encoder.cache.nbytes, decoder.cache_bytes)


def test_a_batch_is_its_videos() -> None:
    both = torch.cat((latents(), latents().flip(2)))
    ours = StreamingDecoder(tiny_vae()).push_float(both)
    for index in range(2):
        alone = StreamingDecoder(tiny_vae()).push_float(both[index : index + 1])
        torch.testing.assert_close(ours[index : index + 1], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.bfloat16, 0.1), (torch.float16, 0.02)], ids=str)
def test_half_precision_is_near(dtype: torch.dtype, atol: float) -> None:
    vae = tiny_vae(dtype)
    encoded = StreamingEncoder(vae).push(golden_video())
    decoded = StreamingDecoder(vae).push_float(latents())
    assert encoded.dtype == decoded.dtype == torch.float32
    torch.testing.assert_close(
        encoded, StreamingEncoder(tiny_vae()).push(golden_video()), atol=atol, rtol=0.1
    )
    assert (decoded - StreamingDecoder(tiny_vae()).push_float(latents())).abs().mean() < atol / 2


@pytest.mark.parametrize(
    ("pushes", "problem"),
    [
        ([(4, 24, 32)], "4 pictures are not whole latent frames"),
        ([(0, 24, 32)], "0 pictures are not whole latent frames"),
        ([(1, 24, 32), (1, 24, 32)], "1 pictures are not whole latent frames"),
        ([(5, 24, 32), (0, 24, 32)], "0 pictures are not whole latent frames"),
        ([(1, 20, 32)], "32x20 do not divide into cells of 8 pixels"),
        ([(1, 24, 32), (4, 32, 32)], "were 1, 24, 32 and are now 1, 32, 32"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(pushes: list[tuple[int, int, int]], problem: str) -> None:
    encoder = StreamingEncoder(tiny_vae())
    *fine, wrong = [torch.zeros(1, 3, *shape) for shape in pushes]
    for pictures in fine:
        encoder.push(pictures)
    with pytest.raises(InputError) as error:
        encoder.push(wrong)
    assert problem in error.value.problem
    assert error.value.hint


@pytest.mark.parametrize(
    ("shapes", "problem"),
    [
        ([(1, 8, 3, 3, 4)], "[1, 8, 3, 3, 4] cannot be decoded"),
        ([(1, 16, 0, 3, 4)], "[1, 16, 0, 3, 4] cannot be decoded"),
        ([(1, 16, 1, 3, 4), (2, 16, 1, 3, 4)], "were 1, 3, 4 and are now 2, 3, 4"),
    ],
)
def test_latents_that_do_not_fit_are_refused(shapes: list[tuple[int, ...]], problem: str) -> None:
    decoder = StreamingDecoder(tiny_vae())
    *fine, wrong = [torch.zeros(shape) for shape in shapes]
    for given in fine:
        decoder.push(given)
    with pytest.raises(InputError) as error:
        decoder.push(wrong)
    assert problem in error.value.problem
    assert error.value.hint


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(
    "settings", [{}, {"tile": (8, 9), "tile_caches_on_host": True}], ids=["whole", "tiles"]
)
def test_on_a_gpu(settings: dict[str, object]) -> None:
    vae: WanVae = fresh_vae(device=torch.device("cuda"))
    many = latents(6, 10, 20)
    expected = StreamingDecoder(tiny_vae(), **settings).push(many)
    decoder = StreamingDecoder(vae, **settings)
    ours = np.concatenate([decoder.push(part.cuda()) for part in many.split(3, dim=2)], axis=1)
    assert np.abs(ours.astype(int) - expected.astype(int)).max() <= 2
